"""Every way from one node to another: who can hear whom, how long it takes, and what gets lost on the way."""

from collections.abc import Iterable
from random import Random

from attrs import define, field

from txraft.core.messages import NodeId


@define
class Noise:
    """What happens to messages on their way."""

    loss: float = 0.0
    """The share of them that is lost."""
    doubling: float = 0.0
    """The share that arrives twice."""
    lateness: float = 0.0
    """The share that is late, by up to `late_by` seconds, and so overtaken by others."""
    late_by: float = 1.0


@define(eq=False)
class Links:
    """Every way from one node to another."""

    random: Random
    noise: Noise = field(factory=Noise)
    latency: tuple[float, float] = (0.0002, 0.002)
    """Seconds that a message takes, from and to."""
    _cuts: dict[tuple[NodeId, NodeId], int] = field(factory=dict)

    def cut(self, ways: Iterable[tuple[NodeId, NodeId]]) -> None:
        """Let nothing through from the first of each pair to the second. Cuts add up."""
        for way in ways:
            self._cuts[way] = self._cuts.get(way, 0) + 1

    def join(self, ways: Iterable[tuple[NodeId, NodeId]]) -> None:
        """Take one cut of each away again."""
        for way in ways:
            self._cuts[way] = max(0, self._cuts.get(way, 0) - 1)

    def heal(self) -> None:
        """Take every cut away, and all noise."""
        self._cuts.clear()
        self.noise = Noise()

    def carries(self, sender: NodeId, receiver: NodeId) -> bool:
        """Whether anything gets through this way."""
        return not self._cuts.get((sender, receiver))

    def connects(self, one: NodeId, other: NodeId) -> bool:
        """Whether a connection between the two can be opened."""
        return self.carries(one, other) and self.carries(other, one)

    def delay(self) -> float:
        """Seconds that this message takes."""
        low, high = self.latency
        delay = low + (high - low) * self.random.random()
        if self.noise.lateness and self.random.random() < self.noise.lateness:
            delay += self.noise.late_by * self.random.random()
        return delay

    def copies(self) -> int:
        """How often this message arrives."""
        noise = self.noise
        if noise.loss and self.random.random() < noise.loss:
            return 0
        return 2 if noise.doubling and self.random.random() < noise.doubling else 1
