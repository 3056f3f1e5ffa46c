"""Planted bugs of the driver and the storage: what breaks the promises on which the tables E and R stand."""

from tests.simulation.mutants.planting import Mutant

MUTANTS = (
    Mutant(
        "answers-overtake-their-write",
        "E1",
        "txraft.saving",
        "self._queue.append(_Item(save, messages))",
        "self._on_durable((), messages)\n        self._queue.append(_Item(save, ()))",
        what="messages do not wait for the write that they follow",
    ),
    Mutant(
        "acknowledged-before-fsync",
        "R10",
        "txraft.saving",
        "self._storage.save(saves).addCallback(self._written, saves, messages)",
        "self._on_durable(saves, messages)\n        self._storage.save(saves).addCallback(self._written, [], [])",
        what="a write counts as durable when it begins",
    ),
    Mutant(
        "failed-write-goes-on",
        "S1",
        "txraft.saving",
        ".addErrback(self._on_failure)",
        ".addErrback(lambda _: self._written(None, saves, messages))",
        what="a write that failed counts as durable",
    ),
    Mutant(
        "last-entry-lost-at-restart",
        "E1",
        "txraft.node",
        "log=RaftLog(stored.entries),",
        "log=RaftLog(stored.entries[:-1]),",
        what="a restart loses the last entry",
    ),
    Mutant(
        "first-vote-of-a-group-is-kept",
        "E1",
        "txraft.storage.merging",
        "            term_and_vote = save.term_and_vote\n",
        "            term_and_vote = term_and_vote or save.term_and_vote\n",
        what="of several saves in one write, an older term and vote is written",
        budget=200,
    ),
    Mutant(
        "old-tail-stays-on-disk",
        "R5",
        "txraft.storage.memory",
        "                del entries[entry.index - 1 :]\n                entries.append(entry)",
        "                entries[entry.index - 1 : entry.index] = [entry]",
        what="what was truncated is there again after a restart",
    ),
    Mutant(
        "applied-before-it-is-durable",
        "R10",
        "txraft.core.state",
        "last = min(self.commit_index, self.log.durable_index)",
        "last = self.commit_index",
        what="what a crash would take from the log is applied",
    ),
    Mutant(
        "applied-again-after-restart",
        "S5",
        "txraft.node",
        "            last_applied=state_machine.last_applied,",
        "            last_applied=0,",
        what="a restart applies what the state machine has already",
    ),
    Mutant(
        "applied-out-of-order",
        "R19",
        "txraft.node",
        "entry = self._to_apply.popleft()",
        "entry = self._to_apply.pop()",
        what="entries are applied from the last to the first",
    ),
)
