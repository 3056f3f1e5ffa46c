"""What the commands that ask a running node over HTTP have in common.

They use http.client: urllib would ask for localhost through the proxy that `http_proxy` names, and follow redirects.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

from txraft.cli.up import CONFIGURATION
from txraft.errors import Unreachable
from txraft.settings import Address

CONNECT_TIMEOUT = 5.0
"""Seconds in which a node must take the connection; its kernel does, however busy the node is."""
SHOWN = 300
"""Characters of an answer that are shown; a node's is one short line."""
READ_OF_LINE = 4 * SHOWN
"""Bytes that are read of an answer to be shown."""


def connect(address: Address) -> HTTPConnection:
    """To a node. Raises OSError."""
    connection = HTTPConnection(address.host, address.port, timeout=CONNECT_TIMEOUT)
    connection.connect()
    return connection


@contextmanager
def suggesting_config(is_built_in: bool) -> Iterator[None]:
    """Where no node of the built-in cluster can be reached, name the other one that `txraft up` has described here.

    Raises Unreachable."""
    try:
        yield
    except Unreachable as error:
        path = os.path.join("data", CONFIGURATION)
        if is_built_in and os.path.exists(path):
            raise Unreachable(f"{error}; `txraft up` has written where its nodes are: add --config {path}") from error
        raise


def line_of(what: object) -> str:
    """What somebody else wrote, an answer or an error, in one line that does no harm to a terminal."""
    text = what.decode(errors="replace") if isinstance(what, bytes) else str(what)
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= SHOWN else line[:SHOWN] + "..."
