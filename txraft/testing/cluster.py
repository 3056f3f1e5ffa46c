"""The machines of a simulation, as its plan has them, and what joins them."""

from collections.abc import Iterable
from pathlib import Path
from random import Random

from attrs import define, evolve, field

from txraft.core.configuration import Configuration
from txraft.core.messages import NodeId
from txraft.core.state import RaftOptions
from txraft.interfaces import Identity
from txraft.testing.application import Application
from txraft.testing.disk import Disk, Synced
from txraft.testing.links import Links
from txraft.testing.machine import Machine
from txraft.testing.memberships import Memberships
from txraft.testing.plan import Plan
from txraft.testing.schedule import Process, Schedule
from txraft.testing.simulated_network import Datagrams
from txraft.testing.streams import Streams
from txraft.testing.surroundings import Surroundings, Wiring
from txraft.testing.watcher import Judges

ELECTION_TIMEOUT = 0.15
"""Seconds, of the simulation's time."""
REQUEST_TIMEOUT = 0.8


@define(eq=False)
class Cluster:
    """The founders' machines, which are the first, and the spares: empty until somebody sets them up."""

    plan: Plan
    schedule: Schedule
    random: Random
    links: Links = field(init=False)
    memberships: Memberships = field(init=False)
    machines: dict[NodeId, Machine] = field(init=False, factory=dict)
    _streams: dict[NodeId, Streams] = field(init=False, factory=dict)
    _datagrams: dict[NodeId, Datagrams] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        founders, strays = range(1, self.plan.nodes + 1), {self.plan.nodes + 1} if self.plan.strays else set()
        self.links = Links(Random(self.random.getrandbits(64)))
        self.memberships = Memberships(_founded_by(founders), strays)

    def build(self, application: Application, judges: Judges, directory: Path | None) -> None:
        """Make the machines. `directory` is where their disks keep real files, if they do."""
        around = Surroundings(
            application=application,
            schedule=self.schedule,
            random=self.random,
            judges=judges,
            options_of=self._options_of,
            tight=self.plan.tight,
            keeps=self.plan.keeps,
            request_timeout=REQUEST_TIMEOUT,
            wire=self._wire,
        )
        for node_id in range(1, self.plan.nodes + self.plan.spares + 1):
            self.machines[node_id] = self._machine(node_id, around, directory / str(node_id) if directory else None)

    def members(self) -> list[Machine]:
        """Those that are members by the last membership that is committed, except one that nobody lets in."""
        return [self.machines[each] for each in sorted(self.memberships.latest.members - self.memberships.strays)]

    def voters(self) -> list[Machine]:
        """Those of them that vote."""
        return [each for each in self.members() if each.id in self.memberships.latest.voters]

    def synced_on(self, index: int, term: int) -> set[NodeId]:
        """On whose disks an entry is."""
        return {machine.id for machine in self.machines.values() if machine.disk.has(index, term)}

    def _machine(self, node_id: NodeId, around: Surroundings, home: Path | None) -> Machine:
        founders = self.memberships.founders
        if node_id in self.memberships.strays:
            founders = _founded_by([*founders.voters, node_id])
        disk = Disk(self.random, Synced(home), self.plan.files, founders)
        identity = Identity(node_id, "simulation", founders.voters)
        return Machine(node_id, around, disk, identity, installed=node_id <= self.plan.nodes)

    def _options_of(self, node: NodeId) -> RaftOptions:
        options = RaftOptions(
            election_timeout=ELECTION_TIMEOUT,
            heartbeat_interval=ELECTION_TIMEOUT / 3,
            pre_vote=node not in self.plan.without_pre_vote,
        )
        if not self.plan.tight:
            return options
        # Two entries, or one that is larger, in a message; and four that are not committed.
        return evolve(
            options, max_message_size=100, max_inflight_messages=2, max_inflight_size=200, max_uncommitted_size=720
        )

    def _wire(self, machine: Machine, process: Process) -> Wiring:
        if not self.plan.streams:
            return Datagrams(self.schedule, self.links, machine, process, self.machines, self._datagrams)
        seed = Random(self.random.getrandbits(64))
        memory = machine.remember(process, seed)
        return Streams(self.schedule, self.links, machine, process, seed, memory, self.machines, self._streams)


def _founded_by(servers: Iterable[NodeId]) -> Configuration:
    return Configuration(voters=servers, addresses={server: (str(server),) for server in servers})
