"""The two addresses that a member of the key-value store has: Raft's, and that of the HTTP API. In JSON, and to those
who add a member, they are `address` and `kvaddr`; to the node they are one value that it does not read."""

from collections.abc import Mapping
from typing import Any, Final

from attrs import asdict

from txraft.addresses import Address, Place, parse_place
from txraft.core.configuration import Addresses
from txraft.errors import ChangeRefused
from txraft.statuses import Members, MemberStatus, Status

NONE: Final = ("", "")
"""Of a member whose addresses the log does not have: its directory was made by a txraft that kept none there."""


def two_addresses(address: str, kvaddr: str) -> tuple[str, str]:
    """Those of a member. Raises ChangeRefused."""
    if address == kvaddr:
        raise ChangeRefused(f"{address} cannot be both Raft's address and that of the HTTP API; give two")
    return (address, kvaddr)


def parse_two(addresses: Addresses) -> tuple[Place, Address]:
    """Read those of a member, as the log has them. Raises SettingsError, and ValueError where they are not two."""
    address, kvaddr = addresses
    return parse_place(address), Address.parse(kvaddr)


def address_of(member: MemberStatus) -> str:
    """Raft's; empty where it is not known."""
    return (*member.addresses, *NONE)[0]


def kvaddr_of(member: MemberStatus) -> str:
    """That of the HTTP API; empty where it is not known."""
    return (*member.addresses, *NONE)[1]


def in_json(shown: Members | Status) -> dict[str, Any]:
    """What `/members` and `/status` show, for JSON."""
    return {**asdict(shown), "members": [member_in_json(member) for member in shown.members]}


def member_in_json(member: MemberStatus) -> dict[str, Any]:
    """One of them."""
    rest = asdict(member)
    del rest["addresses"]
    return {"id": rest.pop("id"), "address": address_of(member), "kvaddr": kvaddr_of(member), **rest}


def member_from_json(member: Mapping[str, Any]) -> dict[str, Any]:
    """The other way. Raises KeyError and TypeError."""
    rest = dict(member)
    return {"addresses": [rest.pop("address"), rest.pop("kvaddr")], **rest}
