"""`/members`: what a request says of members, and the membership as JSON."""

import json
from collections.abc import Callable, Mapping

from txraft.addresses import Address, Place, parse_place, require_reachable
from txraft.core.changes import Change
from txraft.errors import BadRequest, SettingsError
from txraft.kv.member_addresses import address_of, in_json, kvaddr_of, two_addresses
from txraft.node.member_changes import require_member, update
from txraft.settings import MAX_ID
from txraft.statuses import Members
from txraft.web.forms import shown
from txraft.web.outcomes import JSON, Answer


def read_id(given: Mapping[bytes, bytes], name: bytes) -> int:
    """The parameter `name`, the id of a node. Raises BadRequest."""
    text = given[name]
    if not (text.isdigit() and len(text) < 20 and int(text) <= MAX_ID):
        raise BadRequest(f"{name.decode()} is the id of a node, a whole number up to {MAX_ID}, not {shown(text)}")
    return int(text)


def read_addresses(given: Mapping[bytes, bytes]) -> dict[str, str]:
    """The parameters `address` and `kvaddr`, as far as they are given. Raises BadRequest."""
    return {
        name: _read_address(name, given[name.encode()], parse)
        for name, parse in {"address": parse_place, "kvaddr": Address.parse}.items()
        if name.encode() in given
    }


def _read_address(name: str, text: bytes, parse: Callable[[str], Place]) -> str:
    try:
        address = parse(text.decode(errors="backslashreplace"))
    except SettingsError as error:
        raise BadRequest(f"{name}: {error}") from error
    try:
        require_reachable(name, address)
    except SettingsError as error:
        raise BadRequest(str(error)) from error
    return str(address)


def read_learner(given: Mapping[bytes, bytes]) -> bool:
    """The parameter `learner`: whether a new member stays one. Raises BadRequest."""
    text = given.get(b"learner", b"false")
    if text not in (b"true", b"false"):
        raise BadRequest(f"learner is true or false (the default), not {shown(text)}")
    return text == b"true"


def moved(members: Members, id: int, given: Mapping[str, str]) -> Change:
    """A member is reached elsewhere. An address that is not given stays. Raises ChangeRefused."""
    member = require_member(members, id)
    stays = {"address": address_of(member), "kvaddr": kvaddr_of(member)}
    return update(members, id, two_addresses(**{**stays, **given}))


def of_members(members: Members) -> Answer:
    """The answer with the membership."""
    return Answer(200, json.dumps(in_json(members)).encode(), content_type=JSON)
