"""What is shown while a new member catches up."""

import sys
from collections.abc import Sequence
from time import monotonic, sleep

from txraft.addresses import Address
from txraft.cli.membership import addresses_in, leader_of, member_of, members_from_leader
from txraft.cli.progress import progress, say
from txraft.client.http import line_of
from txraft.errors import ChangeRefused
from txraft.kv.member_addresses import address_of
from txraft.statuses import MemberDetails, Members
from txraft.texts import one_line

POLL = 0.5
"""Seconds between two looks."""
PATIENCE = 2.0
"""Seconds in which a node must answer; otherwise another one is asked."""
SILENCE = 10.0
"""Seconds without a word from the member after which something seems to be wrong."""


def watch(id: int, becomes_voter: bool, addresses: Sequence[Address]) -> None:
    """Show how far member `id` is, until it has caught up: until it is a voter, where it is to become one. Ctrl-C ends
    the watching, and says so. `addresses` are to be asked first.

    Raises ChangeRefused where it is removed meanwhile."""
    try:
        with progress(f"node {id} catches up", None, " entries") as report:
            last_before: int | None = None
            warned, problem, since = False, None, monotonic()
            while True:
                members = members_from_leader(addresses, PATIENCE)
                if members is not None:
                    member, last = _member(members, id), _last_index(members)
                    if _has_caught_up(members, member, becomes_voter, last_before):
                        return
                    report(member.match_index or 0, last)
                    if member.last_contact is not None:
                        since = monotonic()  # the next leader, which has not heard from it yet, is given time, too
                    silence = monotonic() - since if member.last_contact is None else member.last_contact
                    if not warned and silence > SILENCE:
                        warned = True
                        heard = "yet" if member.last_contact is None else f"for {silence:.0f} s"
                        say(
                            f"the leader has not heard from node {id} {heard}: does it run, and is"
                            f" {one_line(address_of(member))} its ADDRESS?"
                        )
                    if member.problem not in (None, problem):
                        problem = member.problem
                        say(f"node {id} {line_of(problem)}; the leader goes on trying")
                    last_before, addresses = last, addresses_in(members)
                sleep(POLL)
    except KeyboardInterrupt:
        vote = ", and gets its vote by itself" if becomes_voter else ""
        print(f"txraft: stopped watching; node {id} goes on catching up{vote}: see `txraft status`", file=sys.stderr)
        raise


def _member(members: Members, id: int) -> MemberDetails:
    member = member_of(members, id)
    if member is None:
        raise ChangeRefused(f"node {id} is no member any more: it was removed while it caught up")
    return member


def _last_index(members: Members) -> int:
    leader = leader_of(members)
    assert leader is not None
    assert leader.match_index is not None
    return leader.match_index


def _has_caught_up(members: Members, member: MemberDetails, becomes_voter: bool, last_before: int | None) -> bool:
    """`last_before`: what was the leader's last entry at the look before. A learner that has it is less than a POLL
    behind."""
    if becomes_voter:
        return member.voter and not members.joint
    return last_before is not None and (member.match_index or 0) >= last_before
