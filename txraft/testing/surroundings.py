"""What all machines of a simulation share, and what each of their processes is joined to."""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Protocol

from attrs import define

from txraft.core.messages import NodeId
from txraft.core.state import RaftOptions
from txraft.interfaces import IPeerHandler, IPeers
from txraft.testing.application import Application
from txraft.testing.schedule import Process, Schedule
from txraft.testing.watcher import Judges

if TYPE_CHECKING:
    from txraft.testing.machine import Machine


class Wiring(Protocol):
    """What joins a process to the network: `Datagrams` or `Streams`."""

    @property
    def peers(self) -> IPeers:
        """Its peers."""

    def start(self, handler: IPeerHandler) -> None:
        """Dial, and listen."""

    def crashed(self) -> None:
        """The process is dead."""

    def knows_who_lives(self) -> bool:
        """Whether every connection leads to a process that lives."""

    def break_connection(self, peer: NodeId) -> None:
        """Break what this process has dialled to `peer`."""


@define(eq=False)
class Surroundings:
    """What all machines of a simulation share."""

    application: Application
    schedule: Schedule
    random: Random
    judges: Judges
    options_of: Callable[[NodeId], RaftOptions]
    tight: bool
    keeps: int
    request_timeout: float
    wire: "Callable[[Machine, Process], Wiring]"
