"""Who has called and is not known yet, and which connection goes where too many are open.

A node says Hello as soon as it is connected, so that arrives right behind the connection, however long the way is. The
rest of the handshake takes a round trip. So there are two kinds of strangers, and neither pushes the other out:

- Those that have said nothing, or the wrong thing. So many are let be. Of more, the address that has most of them loses
  its oldest: hundreds may come in one turn of the reactor, and the Hello of a node among them is read in the next.
- Those whose Hello was right. Two of each peer are let be, the newest: a node that begins anew has an earlier one that
  is dead, and where a copy of it runs, too, both are to get so far that one is told that it is wrong (hazard S6). Of
  all those together that this node does not know, and lets in (`txraft.rpc.handshake.check`), as many as of the silent:
  who calls may give any ids.
"""

from collections import Counter
from typing import Final

from attrs import define, field

from txraft.core.messages import NodeId
from txraft.rpc.link import Link

_OF_ONE_PEER: Final = 2


@define(eq=False)
class Strangers:
    """Connections that were dialled by others and have not completed their handshake."""

    _most: int
    """So many may be silent."""
    _silent: dict[Link, str] = field(init=False, factory=dict)
    """The oldest first, and where each calls from."""
    _greeted: dict[Link, NodeId | None] = field(init=False, factory=dict)
    """The oldest first, and who each says that it is; None where that is nobody that this node knows."""

    def called(self, link: Link, host: str) -> Link | None:
        """`link` has opened. Gives back which one is to be hung up on, if one is."""
        self._silent[link] = host
        if len(self._silent) <= self._most:
            return None
        [(crowded, _)] = Counter(self._silent.values()).most_common(1)
        oldest = next(each for each, its_host in self._silent.items() if its_host == crowded)
        del self._silent[oldest]
        return oldest

    def greeted(self, link: Link, peer: NodeId | None) -> Link | None:
        """The Hello of `link` was right, and says that it is `peer`; None stands for all that this node does not know.
        Gives back which one is to be hung up on, if one is."""
        self._silent.pop(link, None)
        self._greeted[link] = peer
        same = [each for each, its_peer in self._greeted.items() if its_peer == peer]
        if len(same) <= (self._most if peer is None else _OF_ONE_PEER):
            return None
        del self._greeted[same[0]]
        return same[0]

    def forget(self, link: Link) -> None:
        """It is no stranger any more, or has gone."""
        self._silent.pop(link, None)
        self._greeted.pop(link, None)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._silent) + len(self._greeted)
