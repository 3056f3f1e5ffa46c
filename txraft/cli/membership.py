"""The membership of a cluster, as its nodes tell it."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from txraft.addresses import Address
from txraft.cli.asking import CONNECT_TIMEOUT, NOTHING, Answer, NoAnswer, ask
from txraft.client.reading import read_json
from txraft.errors import SettingsError, Unreachable
from txraft.kv.member_addresses import kvaddr_of
from txraft.statuses import MemberDetails, Members

T = TypeVar("T")

STALE = {"consistency": "stale"}
STALE_PATIENCE = 2.0
"""Seconds in which a node must say what it remembers: it needs nobody else for that."""


class NotUnderstood(Exception):
    """A node answered something else than it was asked for. The line says what."""


def read(answer: Answer, kind: type[T]) -> T:
    """What is in the JSON of an answer. Raises NotUnderstood."""
    if answer.status != 200:
        raise NotUnderstood(str(answer))
    try:
        return read_json(answer.body, kind)
    except ValueError as error:
        raise NotUnderstood(f"{answer.address} did not answer as a node of this version of txraft does") from error


def ask_for_members(address: Address, patience: float, stale: bool) -> Members:
    """What one node tells. Raises NoAnswer, NotUnderstood and Unreachable."""
    answer = ask(
        address, patience, "/members", STALE if stale else NOTHING, connect_timeout=min(patience, CONNECT_TIMEOUT)
    )
    return read(answer, Members)


def members_from_any(addresses: Sequence[Address], patience: float) -> tuple[Members, str | None]:
    """The membership, from the first node that has the latest; where none has, as one of them remembers it, and a line
    that says so. Raises Unreachable."""
    reasons = []
    for stale in (False, True):
        for address in addresses:
            try:
                members = ask_for_members(address, STALE_PATIENCE if stale else patience, stale)
            except (NoAnswer, NotUnderstood, Unreachable) as error:
                reasons.append(str(error))
            else:
                return members, f"this is what {address} remembers, and may be old: {reasons[0]}" if stale else None
    raise Unreachable(f"no node can tell the members: {reasons[0] if reasons else 'there are none to ask'}")


def members_from_leader(addresses: Iterable[Address], patience: float) -> Members | None:
    """The membership as the leader has it, with how far each member is. Asks the nodes at `addresses`, and the leaders
    that they name. None where none of them leads."""
    to_ask, asked = list(addresses), set()
    while to_ask:
        address = to_ask.pop(0)
        if address in asked:
            continue
        asked.add(address)
        try:
            members = ask_for_members(address, patience, stale=True)
        except (NoAnswer, NotUnderstood, Unreachable):
            continue
        if leader_of(members) is not None:
            return members
        to_ask = [*addresses_in(members), *to_ask]
    return None


def leader_of(members: Members) -> MemberDetails | None:
    """The node that leads, where it is the one that told this."""
    leader = member_of(members, members.leader_id)
    return leader if leader is not None and leader.match_index is not None else None


def member_of(members: Members, id: int | None) -> MemberDetails | None:
    """The member with this id; None where there is none."""
    return next((member for member in members.members if member.id == id), None)


def addresses_in(members: Members) -> list[Address]:
    """Where the members serve HTTP, that of the leader first."""
    found = []
    for member in sorted(members.members, key=lambda member: member.id != members.leader_id):
        try:
            found.append(Address.parse(kvaddr_of(member)))
        except SettingsError:  # it has none, or one that only it understands
            continue
    return found
