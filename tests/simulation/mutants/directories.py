"""Planted bugs of what becomes of a directory that forgot: rows S6 and M7."""

from collections.abc import Mapping
from typing import Any

from tests.simulation.mutants.planting import Mutant
from txraft.testing.plan import Fault, Kind

EMPTIED, OLDER = 0.9, 0.1
"""Details of a fault: what is in the place of what was on the disk."""
LOSSES: Mapping[str, Any] = {
    "streams": True,
    "nodes": 3,
    "lasting": (),
    "lasts": 3.0,
    "faults": (
        Fault(0, Kind.OTHER_DISK, 0.6, 0.3, target=2, detail=EMPTIED),
        Fault(1, Kind.CRASH, 1.0, 0.05, target=3, detail=0.5),
        Fault(2, Kind.OTHER_DISK, 1.4, 0.3, target=3, detail=OLDER),
        Fault(3, Kind.CRASH, 1.9, 0.05, target=0, detail=0.5),
        Fault(4, Kind.OTHER_DISK, 2.3, 0.3, target=0, detail=OLDER),
    ),
}
"""Nodes come back on emptied disks and on older copies."""

MUTANTS = (
    Mutant(
        "any-directory-will-do",
        "S6",
        "txraft.rpc.directories",
        "    if known is None:\n",
        "    if True:\n",
        what="a node is let in with whatever directory it has",
        only=LOSSES,
    ),
    Mutant(
        "copies-are-let-in",
        "S6",
        "txraft.rpc.directories",
        "return Verdict.WELCOME if drawn == known.start else Verdict.OLDER",
        "return Verdict.WELCOME",
        what="a node that runs on an older copy of its disk is let in",
        only=LOSSES,
    ),
    Mutant(
        "directory-is-said-by-its-starts-alone",
        "M7",
        "txraft.rpc.directories",
        "    if known.directory != said.directory:\n        return Verdict.WIPED\n"
        "    return Verdict.WELCOME if drawn == known.start else Verdict.OLDER",
        "    return Verdict.WELCOME if said.starts > known.starts or drawn == known.start else Verdict.OLDER",
        what="a directory that was started more often is taken for a later one",
        only=LOSSES,
    ),
    Mutant(
        "caller-is-let-in-before-it-is-kept",
        "S6",
        "txraft.rpc.sides",
        "            return memory.meet(peer, incarnation).addCallbacks(self._let_in, self._give_up, (hello,))\n",
        "            memory.meet(peer, incarnation).addErrback(self._give_up)\n"
        "            return succeed(self._let_in(None, hello))\n",
        what="who was dialled lets a caller in before its directory is written down",
        only=LOSSES,
    ),
    Mutant(
        "callee-is-met-before-it-is-kept",
        "S6",
        "txraft.rpc.sides",
        "            met.addCallbacks(lambda _: self._say_met(incarnation, answer), lambda _: self.abort())\n",
        "            met.addErrback(lambda _: self.abort())\n            self._say_met(incarnation, answer)\n",
        what="a caller goes on before it has written down whom it has met",
        only=LOSSES,
    ),
    Mutant(
        "first-start-is-kept-for-good",
        "S6",
        "txraft.storage.raft_rows",
        "INSERT OR REPLACE INTO peers",
        "INSERT OR IGNORE INTO peers",
        what="the log file keeps of another node the first start that was met",
        only={**LOSSES, "files": True},
    ),
    Mutant(
        "only-the-last-start-is-known",
        "S6",
        "txraft.storage.identity",
        "self.starts[BITS * (starts - 1) :][:BITS]",
        "self.starts[-BITS:]",
        what="a node says what it drew at its last start, whichever it is asked about, and is refused",
        only=LOSSES,
    ),
    Mutant(
        "refused-and-goes-on",
        "S6",
        "txraft.rpc.network",
        "        self.handler.refused(peer, DirectoryRefused(verdict.told.format(by=peer)))\n",
        "        pass\n",
        what="a node that is refused runs on, and nobody is told",
        only={"streams": True, "nodes": 3, "lasting": (), "faults": ()},
    ),
)
