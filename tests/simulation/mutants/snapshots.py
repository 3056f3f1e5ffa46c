"""Planted bugs of compaction and snapshots: rows of tables R, S and C."""

from collections.abc import Mapping
from typing import Any

from tests.simulation.mutants.planting import Mutant
from txraft.testing.plan import Fault, Kind

COMPACTS: Mapping[str, Any] = {"keeps": 0}
"""Logs are cut as soon as they can be."""

INSTALLS = tuple(
    fault
    for n in range(6)
    for fault in (
        Fault(2 * n, Kind.ISOLATE, 0.4 + 0.5 * n, 0.4, target=1 + n % 3, detail=0.5),
        Fault(2 * n + 1, Kind.CRASH_AT_WORK, 0.45 + 0.5 * n, 0.1, target=1 + n % 3, detail=0.75),
    )
)
"""One node after another is cut off until it needs a snapshot, and dies while it installs that."""

MUTANTS = (
    Mutant(
        "compacted-prefix-conflicts",
        "R6",
        "txraft.core.follower",
        "    if index < state.log.snapshot_index:\n        return True\n",
        "",
        what="a request that begins within what is compacted is taken for one that does not match",
    ),
    Mutant(
        "compacted-entries-come-again",
        "R6",
        "txraft.core.follower",
        "if entry.index <= log.snapshot_index or log.has(entry.index, entry.term):",
        "if log.has(entry.index, entry.term):",
        what="entries that are compacted are looked for in the log",
    ),
    Mutant(
        "compacted-term-is-zero",
        "R13",
        "txraft.core.log",
        "        self.snapshot_term = self.term_at(index)\n",
        "        self.snapshot_term = 0\n",
        what="the term of the last entry that is compacted is forgotten",
    ),
    Mutant(
        "term-of-the-start-lost-at-restart",
        "R13",
        "txraft.node.starting",
        "log=RaftLog(stored.entries, start),",
        "log=RaftLog(stored.entries, Snapshot(start.index, 0, start.configuration)),",
        what="a restart forgets the term of the last entry that is compacted",
    ),
    Mutant(
        "hint-below-the-log",
        "R14",
        "txraft.core.replication",
        "            if progress.next_index <= log.snapshot_index:\n",
        "            if False:\n",
        what="a leader goes back to entries that it does not have any more",
    ),
    Mutant(
        "snapshot-never-asked-for",
        "R17",
        "txraft.core.replication",
        "                self._state.snapshots_to_send.append(peer)\n",
        "                pass\n",
        what="a follower that needs what is compacted gets nothing",
    ),
    Mutant(
        "delivered-snapshot-forgotten",
        "R17",
        "txraft.core.replication",
        "if delivered is not None and delivered.index >= index:",
        "if False:",
        what="a follower that has a snapshot's data is never told to install it",
    ),
    Mutant(
        "failed-snapshot-never-repeated",
        "R17",
        "txraft.node.snapshots",
        "            self._tell(self._raft.snapshot_failed, peer, now)\n",
        "            pass\n",
        what="a snapshot that was not delivered is not sent again",
        only=COMPACTS,
    ),
    Mutant(
        "jumped-over-wait",
        "C7",
        "txraft.node.snapshots",
        "        self._proposals.jumped_over(snapshot.index)\n",
        "        pass\n",
        what="those who wait for an entry that a snapshot stands for are not told",
        only=COMPACTS,
        budget=300,
    ),
    Mutant(
        "conflicting-log-stays",
        "S7",
        "txraft.core.follower",
        "    if not _matches_at(state, snapshot.index, snapshot.term):\n",
        "    if snapshot.index > state.log.last_index:\n",
        what="a log that conflicts with a snapshot's last entry is taken for one that has it",
        only=COMPACTS,
        budget=300,
    ),
    Mutant(
        "old-snapshot-takes-the-log-back",
        "S8",
        "txraft.core.follower",
        "    if not _matches_at(state, snapshot.index, snapshot.term):\n",
        "    if True:\n",
        what="a snapshot that is older than the log takes its place",
        only=COMPACTS,
        budget=300,
    ),
    Mutant(
        "installed-before-its-save",
        "S9",
        "txraft.node.driver",
        "        if ready.committed:\n",
        "        if ready.save is not None and ready.save.replaces_log:\n"
        "            self._snapshots._install(ready.save.log_start)\n"
        "        if ready.committed:\n",
        what="a snapshot is restored while the log on disk is the old one, and again after that",
        only=COMPACTS,
    ),
    Mutant(
        "chunks-go-anywhere",
        "S10",
        "txraft.storage.memory_snapshots",
        "        if offset != len(here) or offset + len(data) > file.size:\n",
        "        if False:\n",
        what="a chunk is appended wherever it belongs",
        only=COMPACTS,
        budget=300,
    ),
    Mutant(
        "transfer-never-resumed",
        "S10",
        "txraft.rpc.snapshot_transfer",
        "        self._offset = offset\n",
        "        self._offset = 0\n",
        what="a transfer that is begun again begins at the first byte, whatever the other side has",
        only={"streams": True, **COMPACTS},
        budget=300,
    ),
    Mutant(
        "two-leaders-are-mixed",
        "S10",
        "txraft.node.snapshot_receiving",
        "        if term != current_term or leader not in (None, sender):\n",
        "        if False:\n",
        what="a snapshot of an earlier leader takes the place of a later one's",
        only=COMPACTS,
        budget=300,
    ),
    Mutant(
        "snapshot-read-before-it-is-made",
        "S11",
        "txraft.node.snapshot_sending",
        "until(lambda: self._stopped, snapshot.chunks())",
        "list(until(lambda: self._stopped, snapshot.chunks()))",
        what="the reactor's thread reads the data that a snapshot is made of",
        only=COMPACTS,
    ),
    Mutant(
        "snapshot-read-before-it-is-restored",
        "S11",
        "txraft.node.snapshots",
        "self._files.chunks(snapshot))",
        "list(self._files.chunks(snapshot)))",
        what="the reactor's thread reads a snapshot that was received",
        only=COMPACTS,
    ),
    Mutant(
        "stands-still-while-a-snapshot-is-made",
        "S11",
        "txraft.node.driver",
        "if self._flush_call is None and self.running:",
        "if self._flush_call is None and self.running and not self._snapshots.sending._making:",
        what="a node does nothing else while it makes a snapshot",
        only={"slow_work": True, **COMPACTS},
    ),
    Mutant(
        "saves-wait-for-the-data",
        "S11",
        "txraft.node.driver",
        "self._saving.put(ready.save, ready.messages_after_save)",
        "put, persist = self._saving.put, self._snapshots._compaction._persist\n"
        "            persist().addCallback(lambda _: put(ready.save, ready.messages_after_save))",
        what="the log and the data are written on one thread",
        only={"slow_work": True, **COMPACTS},
    ),
    Mutant(
        "compacts-what-is-not-durable",
        "S18",
        "txraft.node.compaction",
        '        durable = index_of(await deferred_of("persist", self._persist()))\n',
        "        await self._persist()\n        durable = self._last\n",
        what="the log is cut where the data are applied, and not where they are on disk",
    ),
    Mutant(
        "file-goes-before-the-data-are-restored",
        "S18",
        "txraft.node.snapshots",
        "        self._proposals.jumped_over(snapshot.index)\n",
        "        self._proposals.jumped_over(snapshot.index)\n        self._files.discard(snapshot)\n",
        what="a received snapshot is removed when it begins to be restored",
        only=COMPACTS,
    ),
    Mutant(
        "start-does-not-go-on-with-an-install",
        "S18",
        "txraft.node.snapshots",
        "        if self.applied.index < self._raft.log.snapshot_index:\n",
        "        if False:\n",
        what="a start behind the log's start restores nothing",
        only={"keeps": 2, "orders": (), "nodes": 3, "faults": INSTALLS, "lasting": (), "lasts": 3.5},
    ),
    Mutant(
        "start-with-a-hole",
        "S18",
        "txraft.node.starting",
        "    restores = last_applied < start.index and ",
        "    restores = False and ",
        what="a start does not see that what it needs is in a file",
        only=COMPACTS,
        budget=300,
    ),
    Mutant(
        "index-without-the-data",
        "S5",
        "txraft.kv.store",
        "        self._contents = contents\n",
        "        self._contents.last_applied = contents.last_applied\n",
        what="a restore takes over the index of the snapshot, and not its data",
        only=COMPACTS,
    ),
)
