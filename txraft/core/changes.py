"""Changes of the membership (§6, thesis §4.3): pure functions, from a configuration and a list of changes to the next.

                   ──── simple: at most one voter comes or goes ────>
    configuration                                                      configuration
                   ── enter_joint ──> joint configuration ── leave_joint ──>

In a joint configuration the old voters (`outgoing`) and the new ones (`voters`) decide together, each set with a
majority of its own. So there is no moment at which the old ones could decide one thing and the new ones another,
however many come and go. Where one voter comes or goes, any majority of the old shares a server with any of the new,
and one step is enough (thesis §4.1). Learners have no vote, and may come and go with either.

The changes of a list are made one after the other, so the last one that names a server counts. They say what shall be:
to add who is there already, or to remove who is not, changes nothing, and may be asked for again. An old voter that is
to be a learner waits in `learners_next`, since it still votes, and becomes one when the joint configuration is left.
All of this is as in etcd's package confchange, and gives the same voters and learners. What is stricter here:

- An id whose server is no member any more is in `removed` from then on, and is refused (hazard M7). Who goes and comes
  back in one list has never been away. Who comes and goes in one list has never been a member.
- No two members share an address. That of a member that goes with this change is not free before the next one: until
  then it is still spoken to.
- A member, outgoing voters too, keeps its addresses while it is one. `UPDATE` alone changes them, and only those of
  members. To add a member again with other addresses is refused, because it would be a second server with its id.
- Only who is a voter can be replaced, by one learner at a time, which takes no other's place. A joining learner whose
  voter goes otherwise, or loses its vote, joins without replacing anybody. To add a learner that joins already as one
  that stays ends its joining.
"""

import enum
from collections import defaultdict
from collections.abc import Iterable
from typing import Self, assert_never

from attrs import define, evolve, field, frozen
from attrs.validators import instance_of

from txraft.core.configuration import Addresses, Configuration, NodeId
from txraft.errors import ChangeRefused, ChangeUnderWay


class ChangeKind(enum.Enum):
    """What becomes of a server."""

    ADD_VOTER = "add voter"
    """Also for a learner, which is promoted."""
    ADD_LEARNER = "add learner"
    """Also for a voter, which loses its vote."""
    REMOVE = "remove"
    UPDATE = "update"
    """It gets other addresses, and stays what it is."""


@frozen
class Change:
    """One server's part in a change of the membership. Raises TypeError where its kind or its server is none: it goes
    into a log, and to sort ids that are not numbers would end the leader."""

    kind: ChangeKind = field(validator=instance_of(ChangeKind))
    server: NodeId = field(validator=instance_of(int))
    addresses: Addresses = ()
    """None given: a member keeps those that it has. Not of `REMOVE`."""
    joins: bool = False
    """Of `ADD_LEARNER` alone: it becomes a voter when it has caught up (thesis §4.2.1; hazard M8)."""
    replaces: NodeId | None = None
    """Of a learner that joins alone: the voter that goes when this one becomes a voter."""


def simple(configuration: Configuration, changes: Iterable[Change]) -> Configuration:
    """The configuration after changes by which at most one voter comes or goes (thesis §4.1).

    Raises ChangeRefused where they are more, leave no voter, or make no sense; ChangeUnderWay in a joint configuration.
    """
    after = _changed_at_once(configuration, changes)
    if not _is_simple(configuration, after):
        raise ChangeRefused("more than one voter would come or go at once, which needs a joint configuration")
    return after


def enter_joint(configuration: Configuration, changes: Iterable[Change], auto_leave: bool) -> Configuration:
    """The joint configuration in which the voters up to now and those after any changes decide together (thesis §4.3).

    With `auto_leave` the leader leaves it by itself. Raises ChangeRefused where the changes leave no voter, or make no
    sense, or there is no voter yet; ChangeUnderWay in a joint configuration.
    """
    _require_not_joint(configuration)
    if not configuration.voters:
        raise ChangeRefused("there is no voter yet, and only one can be added at a time until there is")
    return _after(changes, _Draft.of(configuration, outgoing=configuration.voters), auto_leave)


def leave_joint(configuration: Configuration) -> Configuration:
    """The configuration in which the new voters decide alone (thesis §4.3). Raises ChangeRefused if it is not joint."""
    if not configuration.is_joint:
        raise ChangeRefused("no change of the membership is under way that could be ended")
    draft = _Draft.of(configuration, outgoing=frozenset())
    draft.learners |= draft.learners_next
    draft.learners_next = set()
    return draft.finished(auto_leave=False)


def changed(configuration: Configuration, changes: Iterable[Change]) -> Configuration:
    """The next configuration on the shortest safe way: in one step where at most one voter comes or goes, else a joint
    one that the leader leaves by itself.

    Raises ChangeRefused where the changes leave no voter, or make no sense; ChangeUnderWay in a joint configuration.
    """
    changes = list(changes)
    after = _changed_at_once(configuration, changes)
    return after if _is_simple(configuration, after) else enter_joint(configuration, changes, auto_leave=True)


def _require_not_joint(configuration: Configuration) -> None:
    if configuration.is_joint:
        raise ChangeUnderWay("another change of the membership has not ended; try again when it has")


def _changed_at_once(configuration: Configuration, changes: Iterable[Change]) -> Configuration:
    _require_not_joint(configuration)
    return _after(changes, _Draft.of(configuration, outgoing=frozenset()), auto_leave=False)


def _is_simple(before: Configuration, after: Configuration) -> bool:
    return len(before.voters ^ after.voters) <= 1


def _after(changes: Iterable[Change], draft: "_Draft", auto_leave: bool) -> Configuration:
    for change in changes:
        draft.make(change)
    if not draft.voters:
        raise ChangeRefused("no voter would be left; add another one first")
    draft.require_own_addresses()
    return draft.finished(auto_leave)


@define(eq=False)
class _Draft:
    """The configuration that follows on `before`, while it is made."""

    before: Configuration
    voters: set[NodeId]
    outgoing: frozenset[NodeId]
    learners: set[NodeId]
    learners_next: set[NodeId]
    joining: dict[NodeId, NodeId | None]
    addresses: dict[NodeId, Addresses]
    """Also of those who go."""

    @classmethod
    def of(cls, before: Configuration, outgoing: frozenset[NodeId]) -> Self:
        """The same membership, with these for the old voters."""
        return cls(
            before,
            set(before.voters),
            outgoing,
            set(before.learners),
            set(before.learners_next),
            dict(before.joining),
            dict(before.addresses),
        )

    @property
    def members(self) -> set[NodeId]:
        return self.voters | self.outgoing | self.learners

    def make(self, change: Change) -> None:
        """One change. Raises ChangeRefused."""
        match change.kind:
            case ChangeKind.ADD_VOTER:
                self._add(change, self.voters)
            case ChangeKind.ADD_LEARNER:
                if change.joins:
                    self._require_same_place(change)
                self._add(change, self.learners_next if change.server in self.outgoing else self.learners)
                if change.joins:
                    self._join(change.server, change.replaces)
            case ChangeKind.REMOVE:
                self._remove(change.server)
            case ChangeKind.UPDATE:
                if change.server not in self.members:
                    raise ChangeRefused(f"node {change.server} is no member; its addresses can be updated once it is")
                self._move(change)
            case _ as never:
                assert_never(never)

    def _add(self, change: Change, servers: set[NodeId]) -> None:
        """Make it one of `servers`, and nothing else."""
        self._require_own_id(change)
        self._remove(change.server)
        servers.add(change.server)
        self._move(change)

    def _require_own_id(self, change: Change) -> None:
        """That its id is not that of another server, which is a member or was one (hazard M7)."""
        server, has = change.server, self.addresses.get(change.server)
        if server in self.before.removed:
            raise ChangeRefused(
                f"node {server} has been removed, and no id is ever used again; add the server under another id, with"
                " an empty data directory"
            )
        if has and change.addresses and change.addresses != has:
            raise ChangeRefused(
                f"node {server} is a member already, at {' and '.join(has)}; add another server under another id, or"
                " update the addresses of this one"
            )

    def _require_same_place(self, change: Change) -> None:
        """That who is to replace a voter is not asked to join otherwise: that voter would stay, or another one go."""
        replaced = self.joining.get(change.server)
        if replaced in self.voters and replaced != change.replaces:
            raise ChangeRefused(
                f"node {change.server} takes the place of node {replaced} when it has caught up; to undo that, remove"
                f" node {change.server} first"
            )

    def _remove(self, server: NodeId) -> None:
        """Take it out of everything that says what it will be; an outgoing voter it stays."""
        for servers in (self.voters, self.learners, self.learners_next):
            servers.discard(server)
        self.joining.pop(server, None)

    def _move(self, change: Change) -> None:
        if change.addresses:
            self.addresses[change.server] = change.addresses

    def _join(self, server: NodeId, replaced: NodeId | None) -> None:
        if server in self.before.voters:
            raise ChangeRefused(f"node {server} is a voter already")
        if replaced is not None and replaced not in self.voters:
            raise ChangeRefused(f"node {replaced} is no voter, so node {server} cannot replace it")
        for other, replaced_by_other in self.joining.items():
            if replaced is not None and replaced == replaced_by_other:
                raise ChangeRefused(f"node {other} replaces node {replaced} already; remove node {other} first")
        self.joining[server] = replaced

    def require_own_addresses(self) -> None:
        """That addresses that are new are nobody else's. Raises ChangeRefused."""
        known, owners = dict(self.before.addresses), defaultdict[str, list[NodeId]](list)
        for server, addresses in self.addresses.items():
            for address in {*addresses}:
                owners[address].append(server)
        moved = (server for server, addresses in self.addresses.items() if addresses != known.get(server))
        for server in moved:
            for address in sorted({*self.addresses[server]}):
                other = next((owner for owner in owners[address] if owner != server), None)
                if other is not None:
                    raise ChangeRefused(
                        f"{address} is an address of node {other}; give node {server} another one, or remove node"
                        f" {other} first"
                    )

    def finished(self, auto_leave: bool) -> Configuration:
        """The whole configuration, also of what the changes mean for others and for who is no member any more."""
        members = self.members
        return evolve(
            self.before,
            voters=self.voters,
            outgoing=self.outgoing,
            learners=self.learners,
            learners_next=self.learners_next,
            auto_leave=auto_leave,
            joining={
                server: replaced if replaced in self.voters else None for server, replaced in self.joining.items()
            },
            addresses={server: addresses for server, addresses in self.addresses.items() if server in members},
            removed=self.before.removed | (self.before.members - members),
        )
