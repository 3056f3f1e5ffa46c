"""ReadIndex: linearizable reads without a log entry (thesis §6.4), many of them for one round of heartbeats.

    read ──> waiting ──── a round starts: read_index = commit_index ───> in the round ── a majority ──> ready
                    not before an entry of this term is committed (C1)                   answers it

While a round is under way, reads that come in wait for the next one: it must start after they came. So the busier the
leader, the more reads share a round. A round is named by a number that a leader uses once; together with the term it is
unique (hazard C2). Lease reads, which would trust clocks (hazard C3), do not exist here.
"""

from txraft.core.messages import NodeId
from txraft.core.quorum import has_quorum
from txraft.core.ready import ReadReady
from txraft.core.state import State


class Reads:
    """The reads of one term's leadership."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.round = 0
        """The latest round that heartbeats carry."""
        self._waiting: dict[int, None] = {}
        """In the order in which they came. A read is forgotten without a look at the others."""
        self._in_round: tuple[int, ...] = ()
        self._read_index = 0
        self._answered: set[NodeId] = set()

    def add(self, read_id: int) -> None:
        """A read wants to know from which index on it may be answered."""
        self._waiting[read_id] = None

    def forget(self, read_id: int) -> None:
        """A read has been given up. What is in a round already ends with it."""
        self._waiting.pop(read_id, None)

    def start_round(self) -> bool:
        """Start a round if one is wanted and none is under way; whether heartbeats are to be sent for it."""
        state = self._state
        if not self._waiting or self._in_round or state.log.term_at(state.commit_index) != state.current_term:
            return False
        self.round += 1
        self._in_round = tuple(self._waiting)
        self._waiting.clear()
        self._read_index = state.commit_index
        self._answered = set()
        return not self.on_answer(state.node_id, self.round)

    def on_answer(self, server: NodeId, read_round: int) -> bool:
        """`server` still follows this leader, as of the round `read_round`. Whether that ends the round.

        A round may also end because the voters are others by now, of whom a majority has answered. Each two majorities
        that follow on each other share a server, so no later leader had one of its own when the round began."""
        if not self._in_round or read_round != self.round:
            return False
        self._answered.add(server)
        if not has_quorum(self._state.configuration.voter_sets, self._answered):
            return False
        self._state.reads.extend(ReadReady(read_id, self._read_index) for read_id in self._in_round)
        self._in_round = ()
        return True

    def give_up(self) -> None:
        """This server leads no longer; none of its reads can be confirmed."""
        self._state.lost_reads.extend((*self._in_round, *self._waiting))
        self._in_round = ()
        self._waiting.clear()
