"""What the RPC layer waits for, and how much it holds."""

import socket
from contextlib import suppress
from typing import Final

from attrs import frozen
from twisted.internet.interfaces import ISystemHandle, ITCPTransport, ITransport


@frozen
class LinkLimits:
    """Times are in seconds."""

    retry_first: float = 0.01
    """About this long after a connection is lost, the next is tried; each further wait is half as long again. Short,
    since followers do not look for another leader before it."""
    retry_most: float = 1.0
    """The longest wait between two attempts, and the wait after each handshake that failed."""
    handshake: float = 5.0
    """A connection that has not completed its handshake is aborted after this time."""
    stuck: float = 10.0
    """A connection by which the peer takes nothing in is aborted after this time (`txraft.rpc.send_queue`)."""
    silence: float = 30.0
    """Each side asks the other so often for a sign of life; a connection by which nothing at all has come until the
    next time is aborted. It is long, since on a slow line the question may have to wait behind entries."""
    close: float = 1.0
    """A connection that is being closed may take this long to send what is still waiting."""
    max_strangers: int = 64
    """Connections whose caller has not said who it is; of more, one is aborted (`txraft.rpc.strangers`). One of a peer
    is among them for a moment only."""
    max_questions: int = 10_000
    """To one peer, or of one peer, that may wait for their answers; more are refused as not applied (hazard C9)."""
    answer: float = 10.0
    """A question of a peer that is not answered by then is let go, as unknown: nobody waits for it there any more. Not
    below the time that a client's request has."""
    snapshot_stall: float = 600.0
    """A snapshot's transfer is given up when no answer has come for this long. Not below what a disk takes to check a
    whole file and make it durable."""
    unreachable_after: float = 5.0
    """A peer that has not been reached for this long is named in the log, which a cluster that starts does not need."""
    repeat_after: float = 300.0
    """The log says the same thing of the same peer, or of strangers, about once in this time."""
    send_queue_size: int = 64 * 1024 * 1024
    """Bytes that may wait for a slow peer before entries to it are dropped, and proposals refused. A leader has far
    less in flight to one follower; a follower holds as much for its clients (`max_uncommitted_size`, by default)."""


def tune(transport: ITransport, dead_after: float) -> None:
    """Send at once what is written, and notice within about `dead_after` seconds that the peer's machine is gone.

    The last part takes options that not every system has; without them `txraft.rpc.send_queue` notices, later."""
    if not ITCPTransport.providedBy(transport):
        return
    handle = transport.getHandle() if ISystemHandle.providedBy(transport) else None
    its = handle if isinstance(handle, socket.socket) else None
    if its is not None and its.family == socket.AF_UNIX:  # which has none of these options, though its transport has
        return
    with suppress(OSError):  # where the peer has hung up by now, which is noticed when it is read
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        for name, value in _options(dead_after).items():
            if its is not None and hasattr(socket, name):
                its.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


_PROBES: Final = 5


def _options(dead_after: float) -> dict[str, int]:
    probe = max(1, int(dead_after / _PROBES))
    return {
        "TCP_USER_TIMEOUT": int(dead_after * 1000),
        "TCP_KEEPIDLE": probe,
        "TCP_KEEPINTVL": probe,
        "TCP_KEEPCNT": _PROBES,
    }
