"""What an operator wants of the membership in a run: drawn from its seed, and a value, as faults are."""

import enum
from random import Random

from attrs import frozen

MOST_SPARES = 4


class Wish(enum.Enum):
    """A kind of change. What `target` and `detail` mean for each is in `txraft.testing.operating`."""

    ADD = "a voter more"
    ADD_LEARNER = "a learner more"
    REMOVE = "a member less"
    PROMOTE = "a vote for a learner"
    DEMOTE = "a vote less"
    REPLACE = "another in the place of a voter"
    UPDATE = "another address"
    SEVERAL = "several at once"
    REVIVE = "a removed one again"


WEIGHTS = {
    Wish.ADD: 6,
    Wish.ADD_LEARNER: 2,
    Wish.REMOVE: 6,
    Wish.PROMOTE: 4,
    Wish.DEMOTE: 4,
    Wish.REPLACE: 5,
    Wish.UPDATE: 2,
    Wish.SEVERAL: 5,
    Wish.REVIVE: 1,
}
"""How often each is drawn, against the others."""


@frozen
class Order:
    """What an operator asks for at one time, of every node that believes it leads."""

    number: int
    wish: Wish
    at: float
    target: int
    """Which server, by chance; 0 is the one that is asked."""
    detail: float
    """From 0 to 1: what else there is to choose."""


@frozen
class Orders:
    """All of a run."""

    spares: int = 0
    """Machines beyond the founders', empty until they are added."""
    strays: bool = False
    """Whether the first of them was started with other founders, as an edited file has them (hazard E14)."""
    orders: tuple[Order, ...] = ()


def orders_of(seed: int, lasts: float) -> Orders:
    """Those of a seed, in two runs of five; in the others the founders stay as they are. By a generator of its own, so
    that everything else of a plan is the same with them and without."""
    random = Random(f"members {seed}")
    if random.random() >= 0.4:
        return Orders()
    wishes = random.sample(list(Wish), random.randint(3, len(Wish)))
    weights = [WEIGHTS[wish] for wish in wishes]
    mean = random.choice((0.05, 0.15, 0.3))
    orders: list[Order] = []
    at = 0.25 + random.expovariate(1 / mean)
    while at < lasts:
        wish = random.choices(wishes, weights)[0]
        target = 0 if random.random() < 0.3 else random.randint(1, 10)
        orders.append(Order(len(orders), wish, at, target, random.random()))
        at += random.expovariate(1 / mean)
    return Orders(random.randint(1, MOST_SPARES), random.random() < 0.15, tuple(orders))
