"""What happens to nodes, one after the other, chosen by a seed.

A `Fault` is drawn before anything of the cluster is known, so a seed gives the same faults again; only who leads when
one strikes, and what the clients do in the meantime, is up to the machine.
"""

import enum
import random
from collections.abc import Iterator, Sequence

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from tests.integration.cluster import NodeProcess, ProcessCluster
from tests.integration.namespaces import FencedCluster


class Kind(enum.Enum):
    """What a fault does to its victim."""

    KILLED = "killed with -9"
    PAUSED = "stopped with SIGSTOP"
    ISOLATED = "cut off in both directions"
    DEAF = "hears no peer, but is heard"
    MUTE = "is heard by no peer, but hears"
    ESTRANGED = "cut off from one peer"


TO_PROCESSES = (Kind.KILLED, Kind.PAUSED)
TO_LINKS = (Kind.ISOLATED, Kind.DEAF, Kind.MUTE, Kind.ESTRANGED)
"""These need a `FencedCluster`."""


@frozen
class Fault:
    """One thing that happens to one node, and ends."""

    kind: Kind
    seconds: float
    rest: float
    """Seconds after it, in which the same hand does nothing."""
    leader: bool
    """Whether it goes for the leader, where there is one that nothing else has happened to."""
    order: tuple[int, ...]
    """The nodes; the first of them that nothing else has happened to is the victim otherwise."""


def faults(choose: random.Random, size: int, kinds: Sequence[Kind]) -> Iterator[Fault]:
    """Without end: every kind once, in any order, then every kind once again."""
    while True:
        for kind in choose.sample(kinds, len(kinds)):
            yield Fault(
                kind,
                seconds=choose.uniform(1.0, 2.5),
                rest=choose.uniform(0.2, 0.8),
                leader=choose.random() < 0.6,
                order=tuple(choose.sample(range(size), size)),
            )


@define(eq=False)
class Nemesis:
    """As many hands at once as a cluster may lose nodes and still have a majority."""

    cluster: ProcessCluster
    seed: int
    kinds: Sequence[Kind]
    log: list[str] = field(factory=list, init=False)
    """What was done, with the seconds since the beginning, for a person."""
    _hit: set[NodeProcess] = field(factory=set, init=False)
    _began: float = field(default=0.0, init=False)

    async def rage(self, seconds: float) -> None:
        """Go on for `seconds`, and at least until every kind has had its turn; everything is whole again when this
        returns. Fails where a node has ended by itself."""
        self._began = self.cluster.reactor.seconds()
        hands = [Deferred.fromCoroutine(self._strike(hand, seconds)) for hand in range(len(self.cluster.nodes) // 2)]
        await gatherResults(hands, consumeErrors=True)

    def note(self, text: str) -> None:
        """Add to the log."""
        self.log.append(f"{self._elapsed():6.2f} s  {text}")

    def _elapsed(self) -> float:
        return float(self.cluster.reactor.seconds()) - self._began

    async def _strike(self, hand: int, seconds: float) -> None:
        choose = random.Random(f"{self.seed} hand {hand}")
        for number, fault in enumerate(faults(choose, len(self.cluster.nodes), self.kinds)):
            if number >= len(self.kinds) and self._elapsed() + fault.seconds > seconds:
                return
            victim = await self._victim(fault)
            peer = self.cluster.nodes[next(id for id in fault.order if id != victim.id)]
            self._begin(fault, victim, peer)
            await deferLater(self.cluster.reactor, fault.seconds)
            self._end(fault, victim, peer)
            await deferLater(self.cluster.reactor, fault.rest)

    async def _victim(self, fault: Fault) -> NodeProcess:
        statuses = await gatherResults([Deferred.fromCoroutine(node.status()) for node in self.cluster.awake])
        leading = [each for each in statuses if each is not None and each["role"] == "leader"]
        newest = [max(leading, key=lambda each: int(each["term"]))["id"]] if leading and fault.leader else []
        return next(node for id in [*newest, *fault.order] if (node := self.cluster.nodes[id]) not in self._hit)

    def _begin(self, fault: Fault, victim: NodeProcess, peer: NodeProcess) -> None:
        self._hit.add(victim)
        assert victim.running, f"node {victim.id} has ended by itself"
        what = f"{fault.kind.value} ({peer.id})" if fault.kind is Kind.ESTRANGED else fault.kind.value
        self.note(f"node {victim.id} {what}, for {fault.seconds:.1f} s")
        match fault.kind:
            case Kind.KILLED:
                victim.kill()
            case Kind.PAUSED:
                victim.pause()
            case _:
                self._fenced.network.cut(self._directions(fault.kind, victim, peer))

    def _end(self, fault: Fault, victim: NodeProcess, peer: NodeProcess) -> None:
        match fault.kind:
            case Kind.KILLED:
                victim.start()
            case Kind.PAUSED:
                victim.resume()
            case _:
                self._fenced.network.heal(self._directions(fault.kind, victim, peer))
        self.note(f"node {victim.id} is whole again")
        self._hit.remove(victim)

    @property
    def _fenced(self) -> FencedCluster:
        assert isinstance(self.cluster, FencedCluster)
        return self.cluster

    def _directions(self, kind: Kind, victim: NodeProcess, peer: NodeProcess) -> list[tuple[int, int]]:
        """(sender, receiver), of what is cut."""
        peers = [peer] if kind is Kind.ESTRANGED else self.cluster.others(victim)
        out = [(victim.id, each.id) for each in peers] if kind is not Kind.DEAF else []
        back = [(each.id, victim.id) for each in peers] if kind is not Kind.MUTE else []
        return out + back
