"""How a node starts: as its directory has it; where that is new, as one that begins a cluster, or joins one that runs.

What a configuration file says of the members counts where a cluster begins, and of this node, where it listens (hazard
E14). A node that is not in there, or has no file, listens where the membership in its directory says.
"""

from pathlib import Path
from typing import TypeVar

from attrs import evolve, frozen
from twisted.logger import Logger

from txraft.addresses import Address, Place, can_be_reached
from txraft.bootstrap import founding
from txraft.errors import SettingsError, WrongDirectory
from txraft.joining import Joiner
from txraft.kv.member_addresses import parse_two
from txraft.settings import Member, Settings
from txraft.storage.identity import Bootstrap, shown
from txraft.storage.inspection import FirstLook, first_look

P = TypeVar("P", bound=Place)

_log = Logger()


@frozen
class Command:
    """What the command line says of the cluster."""

    id: int
    directory: Path
    """The node's own."""
    has_file: bool
    """Whether the settings are those of a file."""
    kvaddr: Address | None = None
    """Where it listens for clients, whatever else says otherwise."""
    address: Place | None = None
    """The same, for the other nodes."""
    join: Address | None = None
    single: bool = False


@frozen
class Start:
    """What a node is to be started with."""

    settings: Settings
    member: Member | None
    """Where it listens. None where the cluster that it joins has to tell."""
    bootstrap: Bootstrap | None = None
    """As `make_node_service` takes it."""
    joiner: Joiner | None = None
    """Of a node that has to join first."""


def start_of(command: Command, settings: Settings) -> Start:
    """Look at what is there. Raises SettingsError and StorageError."""
    in_file = next((each for each in settings.cluster if each.id == command.id and command.has_file), None)
    if in_file is not None and command.join is None and not command.single:
        return Start(settings, in_file)
    found = first_look(command.directory)
    if found is not None:
        return _go_on(command, settings, in_file, found)
    if command.single:
        return _alone(command, settings)
    if command.join is not None:
        return Start(settings, in_file, joiner=_joiner(command, command.join, settings, in_file))
    try:
        return Start(settings, settings.member(command.id))
    except SettingsError as error:
        raise SettingsError(f"{error}; to join a cluster that runs, it needs --join HOST:PORT") from error


def _go_on(command: Command, settings: Settings, in_file: Member | None, found: FirstLook) -> Start:
    """With a directory that is there, which is enough."""
    founders = found.identity.founders
    if command.single and founders != {command.id}:
        raise WrongDirectory(
            f"{command.directory} belongs to a cluster that began with the nodes {shown(founders)}, and --single begins"
            " one of this node alone: leave it out, or give another --data-dir; where the other nodes are lost for"
            " good, see `txraft recover`"
        )
    if command.single and found.addresses.keys() | found.configuration.members != {command.id}:
        _log.warn(
            "leave --single out from now on: others have joined, and on an emptied directory this node would begin"
            " another cluster and serve that"
        )
    if command.join is not None:
        _log.info("--join is ignored: {directory} is the directory of a node already", directory=command.directory)
    if in_file is not None:
        member = in_file
    elif (addresses := found.addresses.get(command.id)) is not None:
        address, kvaddr = parse_two(addresses)
        member = Member(command.id, address, kvaddr, command.address, command.kvaddr)
    else:
        member = settings.member(command.id)
    # Without a file there is nothing that could differ from the membership.
    bootstrap = None if command.has_file and not command.single else founding(settings, command.id)
    return Start(settings, member, bootstrap)


def _alone(command: Command, settings: Settings) -> Start:
    """As the only member of a new cluster, which others are added to."""
    address, kvaddr = _reachable(command.address), _reachable(command.kvaddr)
    if address is not None and kvaddr is not None:
        member = Member(command.id, address, kvaddr)
    else:
        member = settings.member(command.id)
    if kvaddr is not None:
        member = evolve(member, kvaddr=kvaddr, kvbind=None)
    if address is not None:
        member = evolve(member, address=address, bind=None)
    settings = evolve(settings, cluster=(member,))
    return Start(settings, member, founding(settings, command.id))


def _joiner(command: Command, asks: Address, settings: Settings, in_file: Member | None) -> Joiner:
    address, kvaddr = _reachable(command.address), _reachable(command.kvaddr)
    shown_address = address or ("HOST:PORT" if in_file is None else in_file.address)
    shown_kvaddr = kvaddr or ("HOST:PORT" if in_file is None else in_file.kvaddr)
    return Joiner(command.id, asks, kvaddr, settings.name, f"{shown_address} {shown_kvaddr}", address)


def _reachable(address: P | None) -> P | None:
    """None also for an address that only says where to listen."""
    return address if address is not None and can_be_reached(address) else None
