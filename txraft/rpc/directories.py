"""What a node makes of the directory that another one has: whether it may be the one that promised what it promised.

A node that lost its data, or runs on older ones, has forgotten entries that it acknowledged and votes that it gave, and
the others may then lose what a client was told is safe (hazard S6). So each node remembers, durably, which directory
every other one had, and the last start of it that it met, and asks what was drawn at that (`txraft.storage.identity`).
Both sides of a handshake ask, so it does not matter who dialled, and one node that remembers is enough for the refused
one to end.

What this cannot see: a copy that was made after the original's last start, where the original is never started again.
The copy's next start is as good as the original's would have been. A leader to which the node had acknowledged more
sees it (hazard R23). Nor is a node refused by those that have never met it.

A node ends for a refusal only where it has no reason itself to refuse who says so: of two directories that disagree,
either may be the wrong one, and a third node knows. So it is where a node is told that it was removed from the cluster
(hazard M7): who says so has to be the node that was met. None of this keeps out a stranger, who learns the bits of a
directory in a handshake with the node that has it, and can then end another node by refusing it in that one's name: as
long as there is no authentication, who reaches the port can do anything at all.
"""

import enum

from txraft.errors import REMEDY_FOR_LOST_DATA
from txraft.interfaces import Incarnation


class Verdict(enum.Enum):
    """What a node makes of a directory: how its log says it, of node {peer}, and what node {peer} ends with."""

    WELCOME = "", ""
    WIPED = (
        "its directory is not the one that this node knows: it was emptied or replaced",
        "this directory is not the one that node {by} knows this node by: it was emptied or replaced; put the old one"
        f" back; where it is gone, {REMEDY_FOR_LOST_DATA}",
    )
    OLDER = (
        "its directory is a copy from before a start that this node knows of",
        "this directory is a copy from before a start of this node that node {by} knows of; end what was started on the"
        f" copy, and run the original; where it is gone, {REMEDY_FOR_LOST_DATA}",
    )

    def __init__(self, logged: str, told: str) -> None:
        self.logged = logged
        self.told = told


def judge(known: Incarnation | None, said: Incarnation, drawn: bytes) -> Verdict:
    """What to make of a node that was met as `known`, or never, and now says that it is `said`, and that `drawn` is
    what it drew at the start that is known."""
    if known is None:
        return Verdict.WELCOME
    if known.directory != said.directory:
        return Verdict.WIPED
    return Verdict.WELCOME if drawn == known.start else Verdict.OLDER
