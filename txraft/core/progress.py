"""What a leader knows of one follower, and how it feeds it (etcd calls the same thing so).

    PROBE ──────── an answer shows where the logs match ─────────> REPLICATE
      ^ <────── refused, reconnected, what it needs is compacted ──────┘
      ├──── refuses where the leader's log starts ──> SNAPSHOT
      ^ <────── it has the snapshot, or did not get it ──┘
      └──── refuses what it had acknowledged ──> LOST

Probing, one message without entries is under way at a time, so that a follower that is away costs next to nothing
(hazard R18). Replicating, entries are sent as they come, without waiting for answers, up to a limit of messages and
bytes.

What was sent may be lost, or its answer, or the follower's disk may be slow. A follower that owes an answer and answers
heartbeats is asked once a heartbeat interval whether it has all that was sent to it: by a request without entries,
which stands where the next entry would, under the number of the last one, so that any answer counts. One that has lost
something refuses at once, and is probed; one that has it answers when its disk has written it, and is not sent it
again (hazards R15, R18, R21). A follower that does not even answer heartbeats is sent nothing until it does.

A follower that needs what is compacted is probed where the log starts: often only an answer was lost. One that refuses
that is sent a snapshot, by the driver, and meanwhile nothing else. When it has the data, InstallSnapshot is its next
probe. When it could not be sent them, it is probed again as after a lost probe: at a heartbeat's pace. The log may
start later each time, and all of this ends as before (hazard R17).

A follower that refuses what it had acknowledged has lost it. The leader counts on nothing that this follower has until
it has acknowledged all of that anew (hazard R23): match_index says what it had, `counted_index` what it surely has.
"""

import enum
from collections import deque
from typing import assert_never

from attrs import Factory, define

from txraft.values import value_class


class ProgressState(enum.Enum):
    """How the leader sends to this follower."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"
    LOST = "lost"


@value_class
class InFlight:
    """An AppendEntries or InstallSnapshot that is not answered yet."""

    request_id: int
    last_index: int
    size: int
    is_known: bool
    """Whether it asks only for what the follower had acknowledged when it was sent."""


@define(eq=False)
class Progress:
    """One follower. match_index < next_index always, and match_index never goes back (hazard R3)."""

    next_index: int
    """The next entry to send."""
    last_contact: float
    """When it last answered anything in this term, in seconds; when this leader began to feed it, where it has not."""
    has_answered: bool = False
    match_index: int = 0
    """Everything up to here was acknowledged: it is durable there and the same as the leader's."""
    has_lost_data: bool = False
    """Whether it has refused what it had acknowledged, and has not acknowledged all of that anew (hazard R23)."""
    state: ProgressState = ProgressState.PROBE
    _inflight: deque[InFlight] = Factory(deque)
    _inflight_bytes: int = 0
    _asked_at: float = 0.0
    """When a request left for it last."""

    @property
    def counted_index(self) -> int:
        """Everything up to here is known to be on its disk."""
        return 0 if self.has_lost_data else self.match_index

    def sent(self, request_id: int, last_index: int, size: int, now: float) -> None:
        """A request left, with entries up to last_index (probing: with none)."""
        self._inflight.append(InFlight(request_id, last_index, size, last_index <= self.match_index))
        self._inflight_bytes += size
        self._asked_at = now
        self.next_index = max(self.next_index, last_index + 1)

    def may_send(self, max_messages: int, max_bytes: int) -> bool:
        """Whether another AppendEntries may leave now."""
        match self.state:
            case ProgressState.PROBE:
                return not self._inflight
            case ProgressState.REPLICATE:
                return len(self._inflight) < max_messages and self._inflight_bytes < max_bytes
            case ProgressState.SNAPSHOT | ProgressState.LOST:
                return False
            case _ as never:
                assert_never(never)

    def accepted(self, request_id: int, match_index: int) -> None:
        """The follower's log matches, durably, up to match_index. May be late or a duplicate, and is then from before a
        loss of data.
        """
        self.match_index = max(self.match_index, match_index)
        asks = self.state is ProgressState.PROBE or self.has_lost_data
        if asks and self._under_way(request_id) is not None:
            if match_index == self.match_index:
                self.has_lost_data = False
            if self.state is ProgressState.PROBE:
                self._reset(ProgressState.REPLICATE)
        self.next_index = max(self.next_index, self.match_index + 1)
        # A probe is answered only by its own reply, or two of them could chase each other for ever.
        while (
            self.state is ProgressState.REPLICATE
            and self._inflight
            and self._inflight[0].last_index <= self.match_index
        ):
            self._inflight_bytes -= self._inflight.popleft().size

    def refused(self, request_id: int, hint: int, snapshot_index: int) -> bool:
        """The follower's log did not match where the request needed it to; it may match at `hint`, and the leader's log
        starts after snapshot_index. Whether that changes anything: a refusal of what is not under way any more is stale
        (hazard R8). A follower that has lost what it had acknowledged is sent nothing until it is probed (hazard R23).
        """
        refused = self._under_way(request_id)
        if refused is None:
            return False
        if refused.is_known:
            self.has_lost_data = True
            self._reset(ProgressState.LOST)
        elif self.state is ProgressState.PROBE and refused.last_index <= snapshot_index:
            self._reset(ProgressState.SNAPSHOT)
        else:
            self._reset(ProgressState.PROBE)
            # Lower than what was refused, whatever the hint says, so that probing has an end.
            self.next_index = max(min(hint, refused.last_index - 1), self.match_index) + 1
        return True

    def probe(self) -> None:
        """Ask anew where the logs match; nothing is in flight any more (hazard R15)."""
        self._reset(ProgressState.PROBE)

    def probe_at(self, index: int) -> None:
        """Ask whether the logs match at `index`, or at match_index where that is above it."""
        self._reset(ProgressState.PROBE)
        self.next_index = max(index, self.match_index) + 1

    @property
    def owed(self) -> int | None:
        """The number of the last request that is not answered; None where every one is."""
        return self._inflight[-1].request_id if self._inflight else None

    def is_due(self, now: float, patience: float) -> bool:
        """Whether nothing has been sent for `patience` seconds and an answer is owed, or it has lost data: it is to be
        asked again."""
        return (bool(self._inflight) or self.state is ProgressState.LOST) and now - self._asked_at >= patience

    def asked(self, at: float) -> None:
        """It was asked again, or, where `at` is still to come, is to be left alone until then."""
        self._asked_at = at

    def _under_way(self, request_id: int) -> InFlight | None:
        return next((sent for sent in self._inflight if sent.request_id == request_id), None)

    def _reset(self, state: ProgressState) -> None:
        if self.state is ProgressState.REPLICATE or state is ProgressState.REPLICATE:
            self.next_index = self.match_index + 1
        self.state = state
        self._inflight.clear()
        self._inflight_bytes = 0
