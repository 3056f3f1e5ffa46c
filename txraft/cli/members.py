"""`txraft members`: who belongs to a cluster."""

import json
import sys

from txraft.cli.asking import AskingNodes
from txraft.cli.membership import members_from_any
from txraft.cli.table import table
from txraft.kv.member_addresses import address_of, in_json, kvaddr_of
from txraft.statuses import MemberDetails, Members


class MembersOptions(AskingNodes):
    """The options of `txraft members`."""

    optFlags = [["json", None, "Print JSON, that of GET /members."]]  # noqa: RUF012 - how Twisted has it
    longdesc = (
        "Shows who belongs to the cluster: voters decide, learners only receive the data, and joining ones become"
        " voters by themselves when they have caught up. How the nodes are doing, `txraft status` shows; `txraft"
        " member` changes the membership."
    )

    def run(self) -> int:
        addresses, patience = self.nodes()
        with self.suggesting_config():
            members, doubt = members_from_any(addresses, patience)
        print(json.dumps(in_json(members), indent=2) if self["json"] else shown(members))
        if doubt is not None:
            sys.stdout.flush()
            print(f"txraft: {doubt}", file=sys.stderr)
        return 0


def shown(members: Members) -> str:
    """All of it for a person."""
    rows = [
        (
            member.id,
            address_of(member),
            kvaddr_of(member),
            role_of(member),
            "leads" if member.id == members.leader_id else "",
        )
        for member in members.members
    ]
    lines = [table(("id", "address", "kvaddr", "role", ""), rows)]
    if members.joint:
        lines.append("A change has not ended: a majority of the old voters and one of the new ones decide together.")
    if members.removed:
        lines.append(f"Removed, and never used again: {', '.join(map(str, members.removed))}")
    return "\n".join(lines)


def role_of(member: MemberDetails) -> str:
    """What a member is, in a word or two."""
    if member.joining:
        return "joining" if member.replaces is None else f"joining, for {member.replaces}"
    if member.leaving:
        return "voter, leaving"
    return "voter" if member.voter else "learner"
