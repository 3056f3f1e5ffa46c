"""What operators ask for, each as the change of the membership that it stands for.

`IReplica.change_members` takes them, one or several at once. Each is made of the membership as it is known to be, and
where that is an old one, the leader judges the change all the same. What addresses a member has is for its user to say.

All raise ChangeRefused where what is asked for cannot be, as far as this module sees it. `txraft.core.changes` has the
rest: ids and addresses that are taken, say.
"""

from txraft.core.changes import Change, ChangeKind
from txraft.core.configuration import Addresses
from txraft.core.messages import NodeId
from txraft.errors import ChangeRefused
from txraft.statuses import MemberDetails, Members


def add(members: Members, id: NodeId, addresses: Addresses, learner: bool = False) -> Change:
    """A new member. It joins without a vote, and gets one when it has caught up (hazard M8), unless it is to stay a
    `learner`."""
    if (member := _member(members, id)) is not None:
        _require_to_replace_nobody(member)
        if member.addresses == addresses:
            raise ChangeRefused(f"node {id} is {_as_what(member)} already, at just these addresses")
        raise ChangeRefused(f"node {id} is a member already, at {member.addresses[0]}; give the new one another id")
    return Change(ChangeKind.ADD_LEARNER, id, addresses, joins=not learner)


def remove(members: Members, id: NodeId) -> Change:
    """A member goes, for good."""
    if id in members.removed:
        raise ChangeRefused(f"node {id} has been removed already")
    require_member(members, id)
    return Change(ChangeKind.REMOVE, id)


def promote(members: Members, id: NodeId) -> Change:
    """A learner gets a vote, once it has caught up (hazard M8)."""
    member = require_member(members, id)
    if not member.learner:
        raise ChangeRefused(f"node {id} has a vote already")
    _require_to_replace_nobody(member)
    if member.joining:
        raise ChangeRefused(f"node {id} gets a vote by itself already, when it has caught up")
    return Change(ChangeKind.ADD_LEARNER, id, joins=True)


def replace(members: Members, old: NodeId, new: NodeId, addresses: Addresses) -> Change:
    """A new member takes the place of another, in one step, once it has caught up. It may be a learner already."""
    require_member(members, old)
    return Change(ChangeKind.ADD_LEARNER, new, addresses, joins=True, replaces=old)


def update(members: Members, id: NodeId, addresses: Addresses) -> Change:
    """A member is reached elsewhere."""
    require_member(members, id)
    return Change(ChangeKind.UPDATE, id, addresses)


def require_member(members: Members, id: NodeId) -> MemberDetails:
    """The member of this id."""
    member = _member(members, id)
    if member is None:
        ids = ", ".join(str(member.id) for member in members.members)
        raise ChangeRefused(f"node {id} is no member; the members are {ids}")
    return member


def _as_what(member: MemberDetails) -> str:
    if member.voter:
        return "a voter"
    return "added" if member.joining else "added as a learner that stays one"


def _require_to_replace_nobody(member: MemberDetails) -> None:
    if member.replaces is not None:
        raise ChangeRefused(
            f"node {member.id} takes the place of node {member.replaces} when it has caught up; to undo that, remove"
            f" node {member.id} first"
        )


def _member(members: Members, id: NodeId) -> MemberDetails | None:
    return next((member for member in members.members if member.id == id), None)
