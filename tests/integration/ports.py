"""Ports that nobody else uses while this process lives.

They lie below the range from which systems pick ports for outgoing connections, so a node that is down for a while gets
its port back. Byte N of one file, locked, says that port N is taken, to other test runs of the same user. The system
drops these locks with the process.
"""

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import Final

from txraft.addresses import Address, Place
from txraft.ports import Ports

FIRST: Final = 20_000
LAST: Final = 32_000

_taken: set[int] = set()
_file: list[int] = []


def reserve_port() -> int:
    """A port on which nothing listens now, not given out again."""
    count = LAST - FIRST
    start = random.randrange(count)
    for offset in range(count):
        port = FIRST + (start + offset) % count
        if port not in _taken and _lock(port):
            _taken.add(port)
            if _is_free(port):
                return port
    raise RuntimeError(f"no free port from {FIRST} to {LAST}")


def sockets_of(ports: Ports) -> tuple[socket.socket, socket.socket]:
    """A node's two ports, neither of which is an endpoint."""
    assert isinstance(ports.raft, socket.socket)
    assert isinstance(ports.kv, socket.socket)
    return ports.raft, ports.kv


def name_of(place: Place | None) -> tuple[str, int]:
    """The name of a socket that is there, where it is no endpoint."""
    assert isinstance(place, Address)
    return place.host, place.port


def _lock(port: int) -> bool:
    if not _file:  # never closed: closing it would drop the locks
        path = Path(tempfile.gettempdir(), f"txraft-test-ports-{os.getuid()}")
        _file.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    try:
        fcntl.lockf(_file[0], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
