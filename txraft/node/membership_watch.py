"""What a node does about the membership, beside what its core does: whom its network speaks to, and its own end.

The network follows the configuration in force, which may yet be truncated (hazard M5): who has come is dialled. Who is
gone for good is told so, but not before that is committed. A leader that has removed itself is spoken to as long as it
leads: it has to be answered before it can hand over (hazard M4).
"""

from collections import Counter
from collections.abc import Callable, Generator, Sequence

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.logger import Logger

from txraft.core.changes import Change, ChangeKind
from txraft.core.configuration import Addresses, Configuration, NodeId
from txraft.core.invariants import View
from txraft.core.raft import Raft
from txraft.core.roles import Role
from txraft.errors import ChangeRefused, MemberRemoved, NotApplied, OutcomeUnknown, TxraftError
from txraft.interfaces import CHANGES_MEMBERS, IPeers
from txraft.node.reporting import report_members

TIMES_TOLD = 2
"""A voter that knows of no leader, and is told so often by one other voter that it was removed, believes it. The other
one is dialled again after a second or so."""


class MembershipWatch:
    """Sees what has become of the membership by the end of each turn."""

    def __init__(
        self,
        raft: Raft,
        peers: IPeers,
        log: Logger,
        on_change: Callable[[], None],
        check_addresses: Callable[[Addresses], None],
    ) -> None:
        """`on_change` is called when the membership in force has changed, or was committed; `check_addresses` is as
        that of the node."""
        self._raft = raft
        self._peers = peers
        self._log = log
        self._on_change = on_change
        self._times_told = Counter[NodeId]()
        """How often each voter has said that this node was removed, since it knew of a leader last."""
        self._check_addresses = check_addresses
        self._seen: tuple[Configuration, int, NodeId | None, int] | None = None

    def check(self, changes: Sequence[Change]) -> None:
        """Raises ChangeRefused where a member is connected that could not read a membership in the log, and where a
        member would have addresses that can be nobody's. Another node may have passed the changes on, unread."""
        versions, members = self._peers.versions(), self._raft.configuration.members
        earlier = sorted(peer for peer in members & versions.keys() if versions[peer] < CHANGES_MEMBERS)
        if earlier:
            raise ChangeRefused(
                f"node {earlier[0]} runs an earlier txraft, which knows no changes of the members; upgrade it or stop"
                " it first"
            )
        for change in changes:
            comes = change.kind in (ChangeKind.ADD_VOTER, ChangeKind.ADD_LEARNER) and change.server not in members
            if comes or change.addresses:
                self._check_addresses(change.addresses)

    @inlineCallbacks
    def settled(self, change: "Callable[[], Deferred[None]]") -> Generator[Deferred[None], None, Configuration]:
        """Fires with the membership when the one in force is committed, and is no step of a change that goes on.
        `change` is as that of HandingOver. Fails with OutcomeUnknown when the node stops first."""
        raft = self._raft
        while raft.configuration.is_joint or raft.log.membership.index > raft.view().commit_index:
            try:
                yield change()
            except NotApplied:
                raise OutcomeUnknown("the node stopped before it knew whether the change has ended") from None
        return raft.configuration

    def believes(self, peer: NodeId, error: TxraftError) -> bool:
        """Whether this node is to end with `error` because `peer` refuses it. Otherwise who can name an address that
        members dial could end them all. So a voter believes none of the members but voters; and of its removal not even
        these, unless one says so again, and no leader was known in between.

        Who is no member here, and was none, came later than what this node has in its log. It has dialled this node,
        and says that the directory forgot something: that may be how the others came, and this node may lead alone
        meanwhile (hazard S6)."""
        configuration, view = self._raft.configuration, self._raft.view()
        if not configuration.is_voter(view.node_id):
            return True
        if not isinstance(error, MemberRemoved):
            came_later = peer not in configuration.members | configuration.removed
            return came_later or configuration.is_voter(peer)
        if view.leader_id is not None or not configuration.is_voter(peer):
            return False
        self._times_told[peer] += 1
        return self._times_told[peer] >= TIMES_TOLD

    def look(self, view: View) -> None:
        """To be called at the start, and at the end of each turn, of which `view` says where it has led. Raises
        MemberRemoved where this node is none any more."""
        membership, followers = self._raft.log.membership, self._raft.followers
        now = membership.configuration, len(followers), view.leader_id, membership.index_at(view.commit_index)
        if now == self._seen:
            return
        before, self._seen = self._seen, now
        configuration, _, leader, _ = now
        addresses, spoken_to = dict(configuration.addresses), configuration.members | followers.keys()
        if leader is not None:
            spoken_to |= {leader}
            self._times_told.clear()
        peers = {peer: addresses.get(peer, ()) for peer in spoken_to - {view.node_id}}
        removed = membership.at(view.commit_index).removed
        self._peers.follow(peers, removed, membership.index)
        if before is not None:
            if before[0] != configuration:
                report_members(self._log, membership.index, configuration)
            self._on_change()
        if view.node_id in removed and view.role is not Role.LEADER:
            raise MemberRemoved(view.node_id)
