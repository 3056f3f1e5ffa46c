"""The membership in force as `/members` and `/status` show it."""

from collections.abc import Iterator, Mapping, Set

from txraft.core.configuration import Configuration
from txraft.core.invariants import View
from txraft.core.messages import NodeId
from txraft.core.progress import Progress
from txraft.core.roles import Role
from txraft.statuses import MemberDetails, Members, MemberStatus


def statuses_of(configuration: Configuration) -> Iterator[MemberStatus]:
    """Its members, in ascending order of their ids."""
    addresses, joining = dict(configuration.addresses), dict(configuration.joining)
    for id in sorted(configuration.members):
        yield MemberStatus(
            id=id,
            addresses=addresses.get(id, ()),
            voter=configuration.is_voter(id),
            learner=id in configuration.learners,
            joining=id in joining,
        )


def since_contact(progress: Progress, now: float) -> float | None:
    """Seconds since a follower last answered this leader; None where it has not yet."""
    return round(now - progress.last_contact, 3) if progress.has_answered else None


def are_known(configuration: Configuration, index: int, node_id: NodeId) -> bool:
    """Whether a node has the members. One that was added begins with the founders, and is none of them; it learns who
    is a member when it is sent its first entries, or a snapshot."""
    return index > 0 or node_id in configuration.members


def not_known(configuration: Configuration, view: View) -> str:
    """What is said in place of the members, in a line: whom to ask."""
    leader, asked = view.leader_id, "another node"
    if leader is not None:
        addresses = dict(configuration.addresses).get(leader, ())
        asked = f"node {leader}, which leads" + (f", at {addresses[-1]}" if addresses else "")
    return f"node {view.node_id} has not received the members yet; ask {asked}"


def members_of(
    cluster: str,
    founders: Set[NodeId],
    configuration: Configuration,
    index: int,
    view: View,
    followers: Mapping[NodeId, Progress],
    problems: Mapping[NodeId, str],
    now: float,
) -> Members:
    """All of it. `index` is the entry that `configuration` is from, and `followers` what a leader knows of each other
    member, empty elsewhere, as `problems` are: why a follower does not catch up."""
    joining = dict(configuration.joining)

    def details(member: MemberStatus) -> MemberDetails:
        match_index, last_contact = None, None
        if progress := followers.get(member.id):
            match_index, last_contact = progress.match_index, since_contact(progress, now)
        elif view.role is Role.LEADER and member.id == view.node_id:
            match_index, last_contact = view.last_index, 0.0
        return MemberDetails(
            id=member.id,
            addresses=member.addresses,
            voter=member.voter,
            learner=member.learner,
            joining=member.joining,
            replaces=joining.get(member.id),
            leaving=member.voter and member.id not in configuration.voters,
            match_index=match_index,
            last_contact=last_contact,
            problem=problems.get(member.id),
        )

    return Members(
        cluster=cluster,
        founders=tuple(sorted(founders)),
        index=index,
        leader_id=view.leader_id,
        joint=configuration.is_joint,
        removed=tuple(sorted(configuration.removed)),
        members=tuple(map(details, statuses_of(configuration))),
    )
