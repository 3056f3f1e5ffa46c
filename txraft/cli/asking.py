"""What the commands that ask a running node over HTTP have in common.

They use http.client: urllib would ask for localhost through the proxy that `http_proxy` names, and follow redirects.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlencode

from attrs import frozen
from twisted.python.usage import UsageError

from txraft.addresses import Address
from txraft.cli.subcommand import Subcommand
from txraft.client.http import OTHER_PORT, SHOWN, line_of
from txraft.errors import Unreachable
from txraft.file_names import CLUSTER
from txraft.settings import BUILT_IN
from txraft.settings_file import load

CONNECT_TIMEOUT = 5.0
"""Seconds in which a node must take the connection; its kernel does, however busy the node is."""
MARGIN = 5.0
"""Seconds for an answer to arrive in, after the time that the node has for it."""
PATIENCE = 60.0
"""Seconds for the answer of a node whose settings are not known here: it may have been set slow."""
READ_OF_LINE = 4 * SHOWN
"""Bytes that are read of an answer to be shown."""
LONGEST_ANSWER = 1024 * 1024
"""Bytes that are read of one at all; the membership of a hundred nodes takes 30,000."""
NOTHING: Mapping[str, object] = {}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class AskingNodes(Subcommand):
    """The options that say which nodes a command asks."""

    optParameters = [  # noqa: RUF012 - how Twisted has it
        ["node", None, None, "The HTTP address to ask, a node's KVADDR; otherwise the first node that is there."],
        ["config", None, None, "A TOML file that describes the cluster; without it, three nodes on localhost."],
    ]

    def postOptions(self) -> None:
        self.refuse_empty("node", "config")
        if self["node"] is not None and self["config"] is not None:
            raise UsageError("give --node or --config, not both")

    def nodes(self) -> tuple[list[Address], float]:
        """The addresses to ask, and how many seconds a node may take for an answer. Raises SettingsError."""
        if self["node"] is not None:
            return [Address.parse(self["node"])], PATIENCE
        settings = BUILT_IN if self["config"] is None else load(self["config"])
        return [member.kvaddr for member in settings.cluster], settings.timing.request_seconds + MARGIN

    @contextmanager
    def suggesting_config(self) -> Iterator[None]:
        """Where no node of the built-in cluster can be reached, name the other one that `txraft up` has described
        here. Raises Unreachable."""
        try:
            yield
        except Unreachable as error:
            path = os.path.join("data", CLUSTER)
            if (self["node"], self["config"]) == (None, None) and os.path.exists(path):
                raise Unreachable(
                    f"{error}; `txraft up` has written where its nodes are: add --config {path}"
                ) from error
            raise


@frozen
class Answer:
    """What a node said."""

    address: Address
    status: int
    body: bytes
    outcome: str | None = None
    """Of a change that was not decided: `not-applied` or `unknown`."""

    @property
    def is_doubtful(self) -> bool:
        """Whether what was asked for may have been done, or yet be, by an answer that does not say that it is."""
        return self.status >= 500 and self.outcome != "not-applied"

    def with_what_came_of_it(self, doubt: str) -> str:
        """The line, and that nothing was changed, where the node promises that, or the `doubt`."""
        if self.is_doubtful:
            return f"{self}; {doubt}"
        return f"{self}; nothing was changed" if self.outcome == "not-applied" else str(self)

    def __str__(self) -> str:
        return f"{self.address} answered {self.status}: {line_of(self.body) or 'nothing more'}"


class NoAnswer(Exception):
    """A node took a connection, and has not answered what it was asked. The line says which, and what it did."""


def ask_first(
    addresses: Iterable[Address], patience: float, target: str, form: Mapping[str, object], method: str = "POST"
) -> Answer:
    """Ask the first node that takes a connection for a change, and wait `patience` seconds for its answer. No other one
    is asked then, whatever becomes of it (hazard C8).

    Raises NoAnswer, and Unreachable where no node takes a connection: then nothing was sent."""
    reason = "there are none"
    for address in addresses:
        try:
            return ask(address, patience, target, form, method)
        except Unreachable as error:
            reason = f"the last one asked, {error}"
        except KeyboardInterrupt as error:
            raise NoAnswer(f"{address} had not answered yet") from error
    raise Unreachable(f"no node can be reached, and nothing was asked; {reason}")


def ask(
    address: Address,
    patience: float,
    target: str,
    form: Mapping[str, object] = NOTHING,
    method: str = "GET",
    connect_timeout: float = CONNECT_TIMEOUT,
) -> Answer:
    """Ask one node, and wait `patience` seconds for each part of its answer. Where it is asked by POST, it is sent the
    form, else that is a part of the URL.

    Raises NoAnswer, and Unreachable where it takes no connection."""
    try:
        connection = connect(address, connect_timeout)
    except OSError as error:
        raise Unreachable(f"{address}: {line_of(error)}") from error
    try:
        connection.sock.settimeout(patience)
        if method == "POST":
            connection.request(method, target, urlencode(form), FORM)
        else:
            connection.request(method, f"{target}?{urlencode(form)}" if form else target)
        answer = connection.getresponse()
        body = answer.read(LONGEST_ANSWER)
        return Answer(address, answer.status, body, answer.getheader("X-Txraft-Outcome"))
    except (OSError, HTTPException) as error:
        raise NoAnswer(f"{address} {_what_happened(error, patience)}") from error
    finally:
        connection.close()


def connect(address: Address, timeout: float = CONNECT_TIMEOUT) -> HTTPConnection:
    """To a node. Raises OSError."""
    connection = HTTPConnection(address.host, address.port, timeout=timeout)
    connection.connect()
    return connection


def _what_happened(error: Exception, patience: float) -> str:
    """What a node did in place of answering."""
    match error:
        case TimeoutError():
            return f"did not answer within {patience:g} s"
        case ConnectionError():
            return f"did not answer: {line_of(error)}{OTHER_PORT}"
    return f"did not answer as a node does: {line_of(error) or type(error).__name__}{OTHER_PORT}"
