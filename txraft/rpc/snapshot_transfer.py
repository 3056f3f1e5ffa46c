"""A snapshot's data on their way from one node to another, by one connection.

    sender                           receiver
      OfferSnapshot(term, file) ───>   which file, how large, which checksum
                  <─── offset          up to here it is there already, from a connection that was lost say
      SnapshotChunk(offset, data) ─>   a few at a time, each answered when the file has it
                  <─── (empty)
      FinishSnapshot() ────────────>
                  <─── (empty)         it is whole, checked and durable

**Resumed, never mixed** (hazard S10). A connection carries one snapshot at a time: chunks belong to what was offered on
it last. Where anything fails, also where the connection is lost, the transfer ends with it. To go on, a sender offers
it again, and is told where. What does not fit is the file's keeper to refuse (`ISnapshotFiles`), and what is wrong with
the whole is found by its checksum.

**A few chunks in flight** (`Pace`). They share the connection with entries and questions, and where there is only one,
with heartbeats: what comes behind them waits until they are through (hazard R18). So as many are on their way as the
other side keeps up with, and one on a slow line. The other side holds at most twice as many in memory, those of a
transfer that was cancelled and of its successor, and refuses more (hazard N3).

**Slow is not lost.** A disk may take a minute to make a file durable. The transfer is given up where no answer has come
for `LinkLimits.snapshot_stall` seconds; a machine that is gone is noticed as for all that is sent (`txraft.rpc.link`).
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

from attrs import Factory, define, field
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.protocols import amp
from twisted.python.failure import Failure

from txraft.core.messages import NodeId
from txraft.errors import MalformedMessage, NotApplied, Overloaded, Unreachable
from txraft.interfaces import IPeerHandler, SnapshotFile
from txraft.rpc.amp_commands import FinishSnapshot, OfferSnapshot, SnapshotChunk
from txraft.rpc.arguments import MAX_TERM

CHUNK: Final = 60 << 10
"""Bytes of the longest chunk. One value of a box holds it; whole pages of a file."""
MOST_CHUNKS: Final = 8
"""In flight, on a quick line. At 1 Gbit/s they take 4 ms, more than a round trip and a write to the page cache."""
MOST_IN_FLIGHT: Final = MOST_CHUNKS * CHUNK
LEAST_IN_FLIGHT: Final = 32 << 10
"""Bytes. Half of what one message of entries may have, for which others wait as well."""
DELAY: Final = 0.1
"""Seconds by which an answer may take longer than the quickest one."""


@define
class Pace:
    """How many bytes may be in flight: more when a chunk is answered in time, half as many when it is not. Where
    answers take longer the more is in flight, the chunks wait for each other, and others for them."""

    in_flight: int = LEAST_IN_FLIGHT
    _quickest: float = float("inf")

    @property
    def chunk(self) -> int:
        """Bytes of the next chunk, at most: two are in flight at least."""
        return min(CHUNK, self.in_flight // 2)

    def answered(self, size: int, took: float) -> None:
        """A chunk of `size` bytes was answered after `took` seconds."""
        self._quickest = min(self._quickest, took)
        if took <= self._quickest + DELAY:
            self.in_flight = min(self.in_flight + size, MOST_IN_FLIGHT)
        else:
            self.in_flight = max(self.in_flight // 2, LEAST_IN_FLIGHT)


class Way(Protocol):
    """What a sender needs of its link."""

    peer: NodeId | None

    def ask_about_snapshot(self, command: type[amp.Command], key: str | None = None, **arguments: Any) -> Deferred[Any]:
        """Fires with what the answer has under `key`. Fails with NotApplied, Unreachable above all. Cancelling forgets
        the question."""

    def malformed(self, error: Exception) -> None:
        """What came makes no sense: end the connection."""


@define(eq=False)
class SnapshotSender:
    """Sends one file, once."""

    _way: Way
    _file: SnapshotFile
    _read: Callable[[int, int], Deferred[bytes]]
    """As in IPeers.send_snapshot."""
    _is_way: Callable[[], bool]
    """Whether `_way` is still the connection that chunks go by. It is not when it stood in for another one."""
    _clock: IReactorTime
    _stall: float
    _offset: int = 0
    """Of what is to be read next."""
    _in_flight: int = 0
    """Bytes of the chunks that are not answered."""
    _pace: Pace = Factory(Pace)
    _unanswered: set[Deferred[Any]] = Factory(set)
    _failure: Failure | None = None
    """The first one. It comes out where `send` waits (`_until`)."""
    _waiting: Deferred[None] | None = None
    _stalled: IDelayedCall = field(init=False)

    async def send(self, term: int) -> None:
        """Done when the other side has all of it on its disk. As IPeers.send_snapshot."""
        self._stalled = self._clock.callLater(self._stall, self._give_up)
        try:
            self._ask(self._begin, OfferSnapshot, "offset", term=term, file=self._file)
            await self._until(self._all_answered)
            while self._offset < self._file.size:
                await self._until(self._has_room)
                data = await self._read(self._offset, min(self._pace.chunk, self._file.size - self._offset))
                self._raise_if_failed()
                self._send_chunk(data)
            await self._until(self._all_answered)
            self._ask(lambda _: None, FinishSnapshot)
            await self._until(self._all_answered)
        finally:
            self._stop()

    def _begin(self, offset: int) -> None:
        self._offset = offset
        if self._offset > self._file.size:
            error = MalformedMessage("it has more of a snapshot than there is")
            self._way.malformed(error)
            raise Unreachable(str(error))

    def _send_chunk(self, data: bytes) -> None:
        if not data:
            raise NotApplied(f"the snapshot's file ends at byte {self._offset} of {self._file.size}")
        if not self._is_way():
            raise Unreachable(f"another connection leads to node {self._way.peer} now; the snapshot is to go by that")
        size, sent_at = len(data), self._clock.seconds()

        def written(_: None) -> None:
            self._in_flight -= size
            self._pace.answered(size, self._clock.seconds() - sent_at)

        self._ask(written, SnapshotChunk, offset=self._offset, data=data)
        self._offset += size
        self._in_flight += size

    def _has_room(self) -> bool:
        return self._in_flight + self._pace.chunk <= self._pace.in_flight

    def _all_answered(self) -> bool:
        return not self._unanswered

    def _ask(
        self,
        on_answer: Callable[[Any], None],
        command: type[amp.Command],
        key: str | None = None,
        **arguments: Any,
    ) -> None:
        asked = self._way.ask_about_snapshot(command, key, **arguments)
        self._unanswered.add(asked)

        def answered(answer: Any) -> None:
            self._unanswered.discard(asked)
            if self._stalled.active():
                self._stalled.reset(self._stall)
            on_answer(answer)
            self._wake()

        def failed(failure: Failure) -> None:
            self._unanswered.discard(asked)
            self._fail(failure)

        asked.addCallback(answered).addErrback(failed)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while self._failure is None and not condition():
            self._waiting = Deferred()
            await self._waiting
        self._raise_if_failed()

    def _raise_if_failed(self) -> None:
        if self._failure is not None:
            self._failure.raiseException()

    def _wake(self) -> None:
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)

    def _fail(self, failure: Failure) -> None:
        if self._failure is None:
            self._failure = failure
        self._wake()

    def _give_up(self) -> None:
        peer = self._way.peer
        self._fail(Failure(Unreachable(f"node {peer} has not got on with the snapshot for {self._stall:g} s")))

    def _stop(self) -> None:
        self._waiting = None
        if self._stalled.active():
            self._stalled.cancel()
        for asked in tuple(self._unanswered):
            asked.cancel()
        self._failure = None  # its traceback refers to this object


@define(eq=False)
class SnapshotReceiver:
    """Takes in what comes by one connection, for the node's handler."""

    _sender: NodeId
    _handler: IPeerHandler
    _file: SnapshotFile | None = None
    """What was offered last, and has not failed."""
    _unanswered: int = 0

    def take(self, command: type[amp.Command], arguments: dict[str, Any]) -> Deferred[Any]:
        """Do as a command says. Fires with what IPeerHandler's method gives, fails as that does. Raises
        MalformedMessage."""
        file: SnapshotFile | None = arguments.get("file", self._file)
        if file is None:
            return fail(NotApplied("no snapshot is being received; offer it again"))
        if command is OfferSnapshot and not file.snapshot.term <= arguments["term"] <= MAX_TERM:
            raise MalformedMessage("a snapshot of a term that its sender has not entered")
        if command is SnapshotChunk and not 0 < len(arguments["data"]) <= file.size - arguments["offset"]:
            raise MalformedMessage("a chunk of a snapshot that is empty, or goes beyond its end")
        if self._unanswered >= 2 * MOST_CHUNKS:  # one transfer that was cancelled, and its successor
            self._file = None
            return fail(Overloaded("too much of a snapshot waits to be written; offer it again later"))
        self._file = file
        self._unanswered += 1
        return maybeDeferred(self._hand_over, command, file, arguments).addBoth(self._handed_over, file)

    def _hand_over(self, command: type[amp.Command], file: SnapshotFile, arguments: dict[str, Any]) -> Deferred[Any]:
        answer: Deferred[Any]
        if command is OfferSnapshot:
            answer = self._handler.snapshot_offered(self._sender, arguments["term"], file)
        elif command is SnapshotChunk:
            answer = self._handler.snapshot_received(self._sender, file, arguments["offset"], arguments["data"])
        else:
            answer = self._handler.snapshot_finished(self._sender, file)
        return answer

    def _handed_over(self, result: Any, file: SnapshotFile) -> Any:
        self._unanswered -= 1
        if isinstance(result, Failure) and self._file is file:
            self._file = None
        return result
