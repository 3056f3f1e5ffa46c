"""The membership in force as `/members` and `/status` show it."""

from collections.abc import Iterator, Mapping, Set

from txraft.core.configuration import Configuration
from txraft.core.invariants import View
from txraft.core.messages import NodeId
from txraft.core.progress import Progress
from txraft.core.roles import Role
from txraft.statuses import MemberDetails, Members, MemberStatus

NO_ADDRESSES = ("", "")
"""Of a member whose addresses the log does not have: its directory was made by a txraft that kept none there."""


def statuses_of(configuration: Configuration) -> Iterator[MemberStatus]:
    """Its members, in ascending order of their ids."""
    addresses, joining = dict(configuration.addresses), dict(configuration.joining)
    for id in sorted(configuration.members):
        address, kvaddr = (*addresses.get(id, ()), *NO_ADDRESSES)[:2]
        yield MemberStatus(
            id=id,
            address=address,
            kvaddr=kvaddr,
            voter=configuration.is_voter(id),
            learner=id in configuration.learners,
            joining=id in joining,
        )


def members_of(
    cluster: str,
    founders: Set[NodeId],
    configuration: Configuration,
    index: int,
    view: View,
    followers: Mapping[NodeId, Progress],
    now: float,
) -> Members:
    """All of it. `index` is the entry that `configuration` is from, and `followers` what a leader knows of each other
    member, empty elsewhere."""
    joining = dict(configuration.joining)

    def details(member: MemberStatus) -> MemberDetails:
        match_index, last_contact = None, None
        if progress := followers.get(member.id):
            match_index, last_contact = progress.match_index, round(now - progress.last_contact, 3)
        elif view.role is Role.LEADER and member.id == view.node_id:
            match_index, last_contact = view.last_index, 0.0
        return MemberDetails(
            id=member.id,
            address=member.address,
            kvaddr=member.kvaddr,
            voter=member.voter,
            learner=member.learner,
            joining=member.joining,
            replaces=joining.get(member.id),
            leaving=member.voter and member.id not in configuration.voters,
            match_index=match_index,
            last_contact=last_contact,
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
