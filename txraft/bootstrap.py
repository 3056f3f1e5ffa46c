"""What a configuration file says of the members. It counts at the first start of an empty directory; from then on the
members are what the log says, so that no edited file can make two majorities (hazard E14)."""

from collections.abc import Iterator

from txraft.addresses import Endpoint, Place, can_be_reached, require_reachable
from txraft.core.configuration import Addresses, Configuration
from txraft.core.messages import NodeId
from txraft.errors import ChangeRefused, SettingsError
from txraft.kv.member_addresses import parse_two
from txraft.raft_service.arguments import differences
from txraft.settings import Member, Settings
from txraft.storage.identity import Bootstrap
from txraft.texts import one_line


def founders_of(settings: Settings) -> Configuration:
    """The membership with which a new cluster begins: all of them vote."""
    return Configuration(
        voters=(member.id for member in settings.cluster),
        addresses={member.id: _addresses_of(member) for member in settings.cluster},
    )


def founding(settings: Settings, node_id: NodeId) -> Bootstrap:
    """What the directory becomes of a node that begins the cluster of the settings, together with the others there."""
    return Bootstrap(node_id, settings.cluster_id, founders_of(settings), settings.name is not None)


def difference(settings: Settings, configuration: Configuration, node_id: NodeId) -> str | None:
    """The line that says where the file of a node differs from the membership in force; None where it does not, which
    is also where it only says nothing of the others."""
    given = {member.id: _addresses_of(member) for member in settings.cluster}
    expected = given.keys() if given.keys() == {node_id} else given.keys() | configuration.members
    parts = "; ".join(differences(expected, given, configuration))
    if not parts:
        return None
    return one_line(
        "the members are what the log says, and the configuration of this node says otherwise: it counts only for what"
        f" this node listens on, and `txraft member` changes members ({parts})"
    )


def elsewhere(
    configuration: Configuration, node_id: NodeId, address: Place | None, kvaddr: Place | None
) -> Iterator[str]:
    """The lines that say where a node was told to listen elsewhere than the membership in force has it, for the others
    and for clients. Where to listen may be another address than where a node is reached, and the node may not have
    heard yet that it is reached there."""
    addresses = dict(configuration.addresses).get(node_id)
    if addresses is None:
        return
    expected_address, expected_kvaddr = addresses
    ask = expected_kvaddr if kvaddr is None or not can_be_reached(kvaddr) else kvaddr
    moved = [
        (option, given, expected, whom)
        for option, given, expected, whom in (
            ("--address", address, expected_address, "the other nodes"),
            ("--kvaddr", kvaddr, expected_kvaddr, "clients"),
        )
        if given is not None and str(given) != expected and can_be_reached(given)
    ]
    # Both at once: where they have changed places, each by itself would be refused.
    update = " ".join(f"{option} {given}" for option, given, _, _ in moved)
    for option, given, expected, whom in moved:
        yield one_line(
            f"{whom} look for this node at {expected}, as the membership has it, and it listens on {given}"
            f" ({option}); if it has moved there, and nobody has told the cluster: txraft member update {node_id}"
            f" {update} --node {ask}"
        )


def _addresses_of(member: Member) -> Addresses:
    """As a membership has them: where other nodes reach it, and where clients do."""
    return str(member.address), str(member.kvaddr)


def check_addresses(addresses: Addresses, settings: Settings, configuration: Configuration) -> None:
    """Raises ChangeRefused for what no operator can have given a member: two different addresses, as they are written
    here, at which others reach it. Who adds a member may be a stranger, and names no certificate for the nodes to read,
    and no directory of sockets, that neither a file of settings names nor a member."""
    try:
        raft, kv = parse_two(addresses)
        require_reachable("address", raft)
        require_reachable("kvaddr", kv)
        if raft == kv or (str(raft), str(kv)) != addresses:
            raise ValueError
    except (ValueError, SettingsError):
        given = " and ".join(addresses) or "none"
        why = f"a member has two addresses, Raft's and that of the HTTP API, not {given}"
        raise ChangeRefused(one_line(why)) from None
    if isinstance(raft, Endpoint) and raft.names not in _named(settings, configuration):
        raise ChangeRefused(
            f"no member is at an endpoint like {raft}: to be the first, it has to be in the file (--config) with which"
            " the leader was started, as the address of a node"
        )


def _named(settings: Settings, configuration: Configuration) -> Iterator[tuple[str, ...] | None]:
    texts = [addresses[0] for _, addresses in configuration.addresses if addresses]
    for place in (*(member.address for member in settings.cluster), *map(Endpoint, texts)):
        if isinstance(place, Endpoint):
            yield place.names
