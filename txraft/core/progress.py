"""What a leader knows of one follower, and how it feeds it (etcd calls the same thing so).

    PROBE ──────── an answer shows where the logs match ─────────> REPLICATE
      ^ <─── refused, unanswered for too long, reconnected ────────────┘
      └──── what it needs is compacted ──> SNAPSHOT

Probing, one message without entries is under way at a time, so that a follower that is away costs next to nothing
(hazard R18). Replicating, entries are sent as they come, without waiting for answers, up to a limit of messages and
bytes; but after a stall one message at a time, until something new is durable there: a follower whose disk is stuck
answers probes, and would else be sent everything again and again. With each stall in a row it is given twice as long to
answer, so that one whose answers take longer than an election timeout is fed all the same (hazard R15).
"""

import enum
from collections import deque
from typing import assert_never

from attrs import Factory, define, frozen

MOST_DOUBLINGS = 3
"""Of the patience with a follower. More would leave one that has lost a probe alone for too long."""


class ProgressState(enum.Enum):
    """How the leader sends to this follower."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


@frozen
class InFlight:
    """An AppendEntries that is not answered yet."""

    request_id: int
    last_index: int
    size: int
    sent_at: float


@define(eq=False)
class Progress:
    """One follower. match_index < next_index always, and match_index never goes back (hazard R3)."""

    next_index: int
    """The next entry to send."""
    last_contact: float
    """When it last answered anything in this term, in seconds."""
    match_index: int = 0
    """Everything up to here is known to be durable there and the same as the leader's."""
    state: ProgressState = ProgressState.PROBE
    _stalls: int = 0
    """In a row: since something new has become durable there."""
    _inflight: deque[InFlight] = Factory(deque)
    _inflight_bytes: int = 0
    _moved_at: float = 0.0

    def sent(self, request_id: int, last_index: int, size: int, now: float) -> None:
        """An AppendEntries left, with entries up to last_index (probing: with none)."""
        self._inflight.append(InFlight(request_id, last_index, size, now))
        self._inflight_bytes += size
        self.next_index = max(self.next_index, last_index + 1)

    def may_send(self, max_messages: int, max_bytes: int) -> bool:
        """Whether another AppendEntries may leave now."""
        match self.state:
            case ProgressState.PROBE:
                return not self._inflight
            case ProgressState.REPLICATE if self._stalls:
                return not self._inflight
            case ProgressState.REPLICATE:
                return len(self._inflight) < max_messages and self._inflight_bytes < max_bytes
            case ProgressState.SNAPSHOT:
                return False
            case _ as never:
                assert_never(never)

    def accepted(self, request_id: int, match_index: int, now: float) -> bool:
        """The follower's log matches, durably, up to match_index. Whether that is news. May be late or a duplicate."""
        news = match_index > self.match_index
        self._stalls = 0 if news else self._stalls
        self.match_index = max(self.match_index, match_index)
        if self.state is ProgressState.PROBE and self._is_under_way(request_id):
            self._reset(ProgressState.REPLICATE)
        self.next_index = max(self.next_index, self.match_index + 1)
        # A probe is answered only by its own reply, or two of them could chase each other for ever.
        while (
            self.state is ProgressState.REPLICATE
            and self._inflight
            and self._inflight[0].last_index <= self.match_index
        ):
            self._inflight_bytes -= self._inflight.popleft().size
            self._moved_at = now
        return news

    def refused(self, request_id: int, hint: int) -> None:
        """The follower's log did not match where the request needed it to; it may match at `hint`. Where the request is
        not under way any more, the refusal is stale and changes nothing (hazard R8).
        """
        if not self._is_under_way(request_id):
            return
        self._reset(ProgressState.PROBE)
        self.next_index = max(hint, self.match_index) + 1

    def probe(self) -> None:
        """Ask anew where the logs match; nothing is in flight any more (hazard R15)."""
        self._reset(ProgressState.PROBE)

    def stalled(self) -> None:
        """Nothing was answered for too long: it may be lost (hazard R15), or the follower is slow (hazard R18)."""
        self._stalls += 1
        self.probe()

    def needs_snapshot(self) -> None:
        """The entry at next_index, or the one before it, is compacted (hazards R13, R14)."""
        self._reset(ProgressState.SNAPSHOT)

    def is_stalled(self, now: float, patience: float) -> bool:
        """Whether something has been in flight for `patience` seconds, or longer after stalls, and nothing has been
        answered meanwhile.
        """
        patience *= 2 ** min(self._stalls, MOST_DOUBLINGS)
        return bool(self._inflight) and now - max(self._inflight[0].sent_at, self._moved_at) >= patience

    def _is_under_way(self, request_id: int) -> bool:
        return any(sent.request_id == request_id for sent in self._inflight)

    def _reset(self, state: ProgressState) -> None:
        if self.state is ProgressState.REPLICATE or state is ProgressState.REPLICATE:
            self.next_index = self.match_index + 1
        self.state = state
        self._inflight.clear()
        self._inflight_bytes = 0
