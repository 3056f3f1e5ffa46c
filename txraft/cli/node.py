"""A node made of the command line of `twistd txraft`, in a process that is twistd's, so that its reactor is ours to set
up.
"""

from typing import Any

from twisted.application.service import IService, MultiService

from txraft.addresses import Address, parse_place
from txraft.cli.process import STOP_WITHIN, Ending, FilesOfUser, acting_as
from txraft.cli.starting import Command, Start, start_of
from txraft.cli.twistd import Options
from txraft.monotonic import run_on_monotonic_time
from txraft.ports import bind_ports_of, bind_so_far
from txraft.service import make_joining_service, make_node_service
from txraft.settings import BUILT_IN
from txraft.settings_file import load


def make_node(options: Options) -> IService:
    """Ready to start. Raises TxraftError."""
    from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

    run_on_monotonic_time(reactor)
    settings = BUILT_IN if options["config"] is None else load(options["config"])
    ending = Ending(reactor, STOP_WITHIN + settings.timing.election_seconds)
    command = _command_of(options)
    with acting_as(*options.user):
        start = start_of(command, settings)
    service = _service_of(start, command, options, reactor, ending)
    if options.user != (None, None):
        files = FilesOfUser(*options.user, options.files)
        files.warn()
        service.addService(files)
    ending.prepare()
    return service


def _command_of(options: Options) -> Command:
    """What the options say of the cluster. Raises SettingsError."""
    kvaddr, join = (None if options[name] is None else Address.parse(options[name]) for name in ("kvaddr", "join"))
    address = None if options["address"] is None else parse_place(options["address"])
    has_file = options["config"] is not None
    return Command(options["id"], options.directory, has_file, kvaddr, address, join, bool(options["single"]))


def _service_of(start: Start, command: Command, options: Options, reactor: Any, ending: Ending) -> MultiService:
    """The ports come first: some are only root's to bind. Raises TxraftError."""
    if start.joiner is not None:
        so_far = bind_so_far(start.member, command.kvaddr, command.address)
        with acting_as(*options.user):
            return make_joining_service(reactor, start.settings, start.joiner, so_far, command.directory, ending.fail)
    assert start.member is not None
    ports = bind_ports_of(start.member, command.kvaddr, command.address)
    with acting_as(*options.user):
        return make_node_service(
            reactor, start.settings, command.id, ports, command.directory, ending.fail, start.bootstrap
        )
