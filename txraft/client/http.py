"""What goes over the wire, for both transports: a request, an answer, and who carries them."""

from collections.abc import Mapping
from typing import Final, Protocol

from attrs import field, frozen

from txraft.addresses import Address

SHOWN: Final = 300
"""Characters of an answer that are shown; a node's is one short line."""
LONGEST_ANSWER: Final = 64 * 1024 * 1024
"""Bytes. A value has 31 MiB at most, whatever a node's limits are set to."""

OTHER_PORT: Final = "; a node is asked at its HTTP address, its KVADDR, and not at that of Raft"
"""What may be wrong where something takes connections, and answers nothing that is HTTP."""


@frozen
class HttpRequest:
    """One attempt of a request, to any node."""

    method: str
    target: str
    """Path and query string."""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)


@frozen
class HttpAnswer:
    """What a node said."""

    status: int
    headers: Mapping[str, str]
    """By name, in lower case."""
    body: bytes

    @property
    def outcome(self) -> str | None:
        """Of a request that was not decided: `not-applied` or `unknown`."""
        return self.headers.get("x-txraft-outcome")

    @property
    def line(self) -> str:
        """What it said, for a person."""
        return line_of(self.body[: 4 * SHOWN]) or "nothing more"


class Transport(Protocol):
    """What a session needs of the world."""

    async def send(self, address: Address, request: HttpRequest, timeout: float) -> HttpAnswer:
        """Send a request to a node, and give what it answered, whatever that is, within `timeout` seconds.

        Raises Unreachable where nothing was sent, because there was no connection, and OutcomeUnknown where something
        was, and no whole answer came back; that is NoHttpAnswer where it was cut off, or is not HTTP."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    def now(self) -> float:
        """Seconds, by a clock that nobody sets."""
        ...


def line_of(what: object) -> str:
    """What somebody else wrote, an answer or an error, in one line that does no harm to a terminal."""
    text = what.decode(errors="replace") if isinstance(what, bytes) else str(what)
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= SHOWN else line[:SHOWN] + "..."
