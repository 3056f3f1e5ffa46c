"""What a run is to be: drawn from its seed, and a value, so that less of it can be tried (`txraft.testing.shrink`)."""

import enum
import math
from collections.abc import Sequence, Set
from random import Random

from attrs import evolve, frozen

from txraft.testing.links import Noise
from txraft.testing.orders import Order, orders_of


class Kind(enum.Enum):
    """A kind of fault. What `target` and `detail` mean for each is in `txraft.testing.faults`."""

    CRASH = "crash"
    CRASH_SOON = "crash between two actions"
    CRASH_ALL = "crash of all"
    CRASH_VOTER = "crash of a voter"
    CRASH_AT_WORK = "crash within a snapshot"
    OTHER_DISK = "disk that forgot"
    STOP = "clean stop"
    PAUSE = "pause"
    STUTTER = "stutter"
    ISOLATE = "isolation"
    STRAND = "stranding"
    DEAF = "deafness"
    MUTE = "muteness"
    LINK = "cut link"
    ONE_WAY = "one-way link"
    HALVES = "halves"
    BRIDGE = "bridge"
    RING = "ring"
    BREAK = "broken connection"
    CUT_SNAPSHOT = "cut snapshot"
    NOISE = "noise"
    SLOW_DISK = "slow disk"
    STALLED_DISK = "stalled disk"
    HANGING_DISK = "hanging disk"
    FAILING_DISK = "failing disk"
    FULL_DISK = "full disk"
    NO_ROOM = "no room for snapshots"
    SLOW_WORK = "slow work"
    CLOCK_SPEED = "clock speed"
    CLOCK_JUMP = "clock jump"
    TRANSFER = "transfer of leadership"


WEIGHTS = {
    Kind.CRASH: 5,
    Kind.CRASH_SOON: 6,
    Kind.CRASH_ALL: 2,
    Kind.CRASH_VOTER: 4,
    Kind.CRASH_AT_WORK: 6,
    Kind.OTHER_DISK: 6,
    Kind.STOP: 2,
    Kind.PAUSE: 3,
    Kind.STUTTER: 2,
    Kind.ISOLATE: 4,
    Kind.STRAND: 4,
    Kind.DEAF: 2,
    Kind.MUTE: 2,
    Kind.LINK: 3,
    Kind.ONE_WAY: 2,
    Kind.HALVES: 3,
    Kind.BRIDGE: 2,
    Kind.RING: 2,
    Kind.BREAK: 4,
    Kind.CUT_SNAPSHOT: 4,
    Kind.NOISE: 5,
    Kind.SLOW_DISK: 3,
    Kind.STALLED_DISK: 2,
    Kind.HANGING_DISK: 2,
    Kind.FAILING_DISK: 1,
    Kind.FULL_DISK: 1,
    Kind.NO_ROOM: 2,
    Kind.SLOW_WORK: 4,
    Kind.CLOCK_SPEED: 2,
    Kind.CLOCK_JUMP: 2,
    Kind.TRANSFER: 4,
}
"""How often each is drawn, against the others."""


OF_SNAPSHOTS = (Kind.CRASH_AT_WORK, Kind.CUT_SNAPSHOT, Kind.NO_ROOM, Kind.SLOW_WORK)
"""Those that only runs know in which logs are compacted."""

OF_DIRECTORIES = (Kind.OTHER_DISK,)
"""Those that only runs know in which nodes ask each other which directory they have."""


@frozen
class Fault:
    """One fault, from `at` for `lasts` seconds."""

    number: int
    kind: Kind
    at: float
    lasts: float
    target: int
    """Which node, by chance; 0 is whoever leads then."""
    detail: float
    """From 0 to 1: what else there is to choose."""


@frozen
class Plan:
    """A run. The seed also decides everything that is not in the plan."""

    seed: int
    nodes: int
    clients: int
    keys: int
    streams: bool
    """Whether everything goes through the real AMP (`txraft.testing.streams`)."""
    files: bool
    """Whether the disks keep real log files (`txraft.testing.disk`)."""
    without_pre_vote: frozenset[int]
    """The nodes that campaign without asking first."""
    tight: bool
    """Whether little fits into a message, little may be in flight, and little is applied at once."""
    keeps: int
    """Entries that a log keeps when it is compacted; a few more, and it is."""
    pause: float
    """Seconds between two requests of a client, on average."""
    noise: Noise
    """What the network does while nothing else is the matter."""
    lasts: float
    """Seconds until everything is healed."""
    faults: tuple[Fault, ...]
    slow_disks: bool
    """Whether all disks become slow then, for a while: no reason to change the leader (hazard S12)."""
    lasting: tuple[Fault, ...]
    """Faults of a minority that begin after that, and last until the others have shown that they serve without it."""
    slow_work: bool
    """Whether, after the slow disks, all that is done beside the log becomes slow, for a while in which a follower
    needs a snapshot: no reason either (hazard S11)."""
    spares: int = 0
    """Machines beyond the founders', which are the first `nodes`: empty until they are added."""
    strays: bool = False
    """Whether the first of the spares was started with other founders, as an edited file has them (hazard E14)."""
    orders: tuple[Order, ...] = ()
    """The changes of the membership that an operator asks for meanwhile."""


LASTING = (Kind.CRASH, Kind.PAUSE, Kind.ISOLATE, Kind.DEAF, Kind.MUTE, Kind.SLOW_DISK, Kind.HANGING_DISK)
"""What a minority may suffer from without end."""


ALL = 1 << 20
"""Entries: more than a run has."""


def plan_of(seed: int) -> Plan:
    """The plan of a seed. Its times suit the election timeout of `txraft.testing.simulation`: 0.15 s."""
    plan = _plan_of_founders(seed)
    wanted = orders_of(seed, plan.lasts)
    if not wanted.orders:
        return plan
    random = Random(f"targets {seed}")
    machines = range(1, plan.nodes + wanted.spares + 1)
    faults = [evolve(each, target=each.target and random.choice(machines)) for each in plan.faults]
    asks_nobody = len(plan.without_pre_vote) == plan.nodes
    return evolve(
        plan,
        spares=wanted.spares,
        strays=wanted.strays,
        orders=wanted.orders,
        faults=tuple(faults),
        without_pre_vote=frozenset(machines) if asks_nobody else plan.without_pre_vote,
    )


def _plan_of_founders(seed: int) -> Plan:
    """One in which nobody comes or goes."""
    random = Random(seed)
    nodes = random.choice((1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7))
    lasts = random.choice((1.0, 1.5, 2.0, 3.0))
    rough = random.random() < 0.5
    keeps = random.choice((0, 2, 5, 20, ALL, ALL, ALL, ALL))
    return Plan(
        seed=seed,
        nodes=nodes,
        clients=random.randint(1, 5),
        keys=random.randint(1, 3),
        streams=(streams := random.random() < 0.2),
        files=random.random() < 0.04,
        without_pre_vote=(without_pre_vote := _without_pre_vote(random, nodes)),
        tight=random.random() < 0.2,
        keeps=keeps,
        pause=random.choice((0.005, 0.02, 0.08)),
        noise=Noise(0.03 * random.random(), 0.05 * random.random(), 0.05 * random.random(), 0.3) if rough else Noise(),
        lasts=lasts,
        faults=_faults(random, nodes, lasts, compacts=keeps < ALL, introduces=streams),
        slow_disks=random.random() < 0.2,
        lasting=_lasting(random, nodes, without_pre_vote),
        slow_work=keeps < ALL and random.random() < 0.05,
    )


def _without_pre_vote(random: Random, nodes: int) -> frozenset[int]:
    everyone = range(1, nodes + 1)
    return frozenset(random.choices(((), everyone, random.sample(everyone, nodes // 2)), (6, 1, 2))[0])


def _faults(random: Random, nodes: int, lasts: float, compacts: bool, introduces: bool) -> tuple[Fault, ...]:
    # Each run knows some kinds only, which then meet each other more often.
    of_all = [kind for kind in Kind if kind not in (*OF_SNAPSHOTS, *OF_DIRECTORIES)]
    kinds = random.sample(of_all, random.randint(2, 8))
    if compacts:
        kinds += random.sample(OF_SNAPSHOTS, random.randint(0, 3))
    if introduces:
        kinds += random.sample(OF_DIRECTORIES, random.randint(0, 1))
    weights = [WEIGHTS[kind] for kind in kinds]
    mean = random.choice((0.05, 0.15, 0.4))
    faults: list[Fault] = []
    at = 0.3 + random.expovariate(1 / mean)
    while at < lasts:
        kind = random.choices(kinds, weights)[0]
        target = 0 if random.random() < 0.5 else random.randint(1, nodes)
        faults.append(Fault(len(faults), kind, at, random.expovariate(1 / 0.3), target, random.random()))
        at += random.expovariate(1 / mean)
    return tuple(faults)


def _lasting(random: Random, nodes: int, without_pre_vote: frozenset[int]) -> tuple[Fault, ...]:
    minority = random.randint(0, (nodes - 1) // 2)
    faults: list[Fault] = []
    for number, target in enumerate(random.sample(range(1, nodes + 1), minority)):
        kind = random.choice(LASTING)
        faults.append(Fault(number, kind, 0.0, math.inf, target, random.random()))
    return tuple(_bearable(fault, without_pre_vote) for fault in faults)


def _bearable(fault: Fault, without_pre_vote: Set[int]) -> Fault:
    """One that is deaf and does not ask first would raise the term and take votes without end, which is what PreVote is
    for (hazard E8): it is cut off both ways."""
    if fault.kind is Kind.DEAF and fault.target in without_pre_vote:
        return evolve(fault, kind=Kind.ISOLATE)
    return fault


def of_a_minority(lasting: Sequence[Fault], voters: Sequence[int], without_pre_vote: Set[int]) -> tuple[Fault, ...]:
    """As many of these faults as a minority of `voters` may suffer from, each on one of them."""
    faults = [
        evolve(fault, target=voters[(fault.target + number) % len(voters)])
        for number, fault in enumerate(lasting[: (len(voters) - 1) // 2])
    ]
    return tuple(_bearable(fault, without_pre_vote) for fault in faults)
