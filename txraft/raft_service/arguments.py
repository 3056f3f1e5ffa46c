"""What a service is made of, looked at before anything is done: what is wrong is told in a line that names the
argument."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from os import PathLike
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint, IStreamServerEndpoint

from txraft.core.configuration import Addresses, Configuration
from txraft.core.messages import NodeId
from txraft.errors import SettingsError, in_a_line
from txraft.raft_service.options import Options
from txraft.settings import MAX_ID, digest_of_members, require_name
from txraft.storage.directory import DirectoryLock
from txraft.storage.identity import Bootstrap
from txraft.texts import brief


def is_id(given: object) -> bool:
    """Whether it can be the id of a node."""
    return type(given) is int and 0 <= given <= MAX_ID


def _is_path(text: object) -> bool:
    """Whether something may be called so."""
    try:
        return isinstance(text, str) and text != "" and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


_CHECKS: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "reactor": (IReactorTime.providedBy, "Twisted's reactor, of `from twisted.internet import reactor`"),
    "members": (
        lambda given: isinstance(given, Mapping | Bootstrap),
        'a dict of ids and addresses, {0: "10.0.0.1:8080"} say, or what `newcomer` makes',
    ),
    "node_id": (is_id, f"a whole number from 0 to {MAX_ID}"),
    "directory": (lambda given: isinstance(given, str | PathLike) and _is_path(os.fspath(given)), "a path"),
    "machine": (callable, "a class or function that makes the state machine, of a `Home`"),
    "name": (lambda given: given is None or isinstance(given, str), "a text"),
    "listen": (
        lambda given: given is None or isinstance(given, str) or IStreamServerEndpoint.providedBy(given),
        'a text, "0.0.0.0:8080" say, or an endpoint of Twisted to listen on',
    ),
    "options": (lambda given: isinstance(given, Options), "an `Options`, of txraft"),
    "endpoint_of": (lambda given: given is None or callable(given), "a function of a member's addresses"),
    "check_addresses": (lambda given: given is None or callable(given), "a function of a member's addresses"),
    "lock": (lambda given: given is None or isinstance(given, DirectoryLock), "a `DirectoryLock`"),
}
"""Of each argument of `RaftService`, whether it is what it has to be, and what that is."""


def require_arguments(**given: Any) -> None:
    """Raises SettingsError where one is of the wrong kind."""
    for name, value in given.items():
        is_right, what = _CHECKS[name]
        if not is_right(value):
            raise SettingsError(f"{name}: is {what}, not {brief(value)}")
    its = given["members"]
    if isinstance(its, Bootstrap) and its.node_id != given["node_id"]:
        raise SettingsError(f"node_id: is {given['node_id']}, and `newcomer` was given {its.node_id}")


def require_ids(*ids: object) -> None:
    """Raises SettingsError for what cannot be the id of a node."""
    for id in ids:
        if not is_id(id):
            raise SettingsError(f"the id of a node is a whole number from 0 to {MAX_ID}, not {brief(id)}")


def require_endpoints(founders: Configuration, endpoint_of: Callable[[Addresses], IStreamClientEndpoint]) -> None:
    """Raises SettingsError where a member could never be dialled at its addresses."""
    for id, addresses in founders.addresses:
        try:
            endpoint_of(addresses)
        except SettingsError as error:
            raise SettingsError(f"members: node {id} cannot be dialled: {error}") from error
        except Exception as error:  # the application's
            where = f"{' and '.join(addresses)}: {in_a_line(error)}"
            raise SettingsError(f"members: node {id} cannot be dialled at {where}") from error


def newcomer(node_id: NodeId, cluster: str, founders: Iterable[NodeId]) -> Bootstrap:
    """What the directory becomes of a server that joins a cluster, as `status().cluster` and `members().founders` of
    any of its servers have them. It has no members until it is added (`RaftService.add_member`) and hears from the
    leader; later starts may be given the same. Raises SettingsError, also for the id of a founder (hazard M7)."""
    if not is_id(node_id):
        raise SettingsError(f"node_id: is a whole number from 0 to {MAX_ID}, not {brief(node_id)}")
    if not (isinstance(cluster, str) and cluster and cluster.isprintable()):
        raise SettingsError(f"cluster: is a text, as `status().cluster` has it, not {brief(cluster)}")
    ids = [*founders] if isinstance(founders, Iterable) else []
    if not ids or not all(map(is_id, ids)):
        raise SettingsError(f"founders: are ids, as `members().founders` has them, not {brief(founders)}")
    if node_id in ids:
        raise SettingsError(
            f"node_id: {node_id} is a founder's, and an id is not used twice: give the newcomer one of its own"
        )
    return Bootstrap(node_id, cluster, Configuration(frozenset(ids)))


def founded_by(members: Mapping[NodeId, str], node_id: NodeId, name: str | None = None) -> Bootstrap:
    """What the directory becomes of a server that begins a cluster together with the others of `members`. Raises
    SettingsError."""
    require_name(name)
    ids: dict[str, NodeId] = {}
    for id, address in members.items():
        if not is_id(id):
            raise SettingsError(f"members: the id of a node is a whole number from 0 to {MAX_ID}, not {brief(id)}")
        if not (isinstance(address, str) and address.isprintable() and address):
            raise SettingsError(f"members: the address of node {id} is a text, host:port say, not {address!r}")
        if ids.setdefault(address, id) != id:
            raise SettingsError(f"members: {address} is both of node {ids[address]} and of node {id}")
    if node_id not in members:
        given = ", ".join(map(str, sorted(members))) or "none"
        raise SettingsError(f"members: have no node {node_id}; their ids are {given}")
    configuration = Configuration(members.keys(), addresses={id: (address,) for id, address in members.items()})
    return Bootstrap(node_id, name or digest_of_members(members), configuration, name is not None)


def outdated(given: Configuration, configuration: Configuration) -> str | None:
    """The line that says where the members that a service is given differ from those in force, which count."""
    parts = "; ".join(differences(given.members | configuration.members, dict(given.addresses), configuration))
    if not parts:
        return None
    return (
        "the members are what the log says, and those given to this service differ: they count at its first start, and"
        f" from then on `add_member`, `move_member` and `remove_member` change them ({parts})"
    )


def differences(
    expected: Set[NodeId], given: Mapping[NodeId, Addresses], configuration: Configuration
) -> Iterator[str]:
    """What is otherwise in a membership than it was `given`, of the members that are `expected`."""
    addresses = dict(configuration.addresses)
    for server in sorted(expected):
        if server not in given:
            yield f"node {server} is a member, and not in the configuration"
        elif server in configuration.removed:
            yield f"node {server} was removed"
        elif server not in configuration.members:
            yield f"node {server} is no member"
        elif server in addresses and addresses[server] != given[server]:
            its, others = (" and ".join(each) for each in (addresses[server], given[server]))
            yield f"node {server} is at {its}, not at {others}"
