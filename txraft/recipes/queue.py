"""A queue of work, each piece of which is done at least once."""

from heapq import heappop, heappush

from attrs import define, field, frozen

from txraft import command
from txraft.recipes.table import Value


@frozen
class Item:
    """What was put into a queue."""

    number: int
    """Never used for another item."""
    value: Value


@define(slots=False)
class Queue:
    """Items, first in, first out. A consumer takes one, does the work, and says `done`:

        while (item := await service.call(Queue.take, "worker 1")) is not None:
            await work(item.value, idempotency_key=item.number)
            await service.call(Queue.done, item.number, "worker 1")

    **At least once.** A consumer that dies after its work and before `done` still has the item: it is given back, or
    taken again by the same consumer, and the work is done a second time. So the number is the idempotency key: who is
    worked for remembers it, and does nothing for one that it has seen.

    **Nothing is given back by itself**: commands have no clock. The consumer that has died gets its item when it starts
    again under the same name. Or another program, which knows that it is gone, calls `give_back` in its name; a `Lock`
    that each consumer holds under its name is a way to know. A consumer that is only slow may then work at the same
    time as the next one. It finds out where `done` gives False.

    **Calls of unknown outcome.** `take`, `done` and `give_back` may be called again. A `put` that is called again may
    put the item in twice, under two numbers: who cannot have that puts an id of its own into the value.
    """

    items: dict[int, Value] = field(factory=dict)
    """By number: all that are not done."""
    waiting: list[int] = field(factory=list)
    """The numbers of those that nobody has, as a heap."""
    taken: dict[str, int] = field(factory=dict)
    """The number of the one that a consumer has."""
    last_number: int = 0

    @command
    def put(self, value: Value) -> int:
        """Put it in at the end. Gives its number."""
        self.last_number += 1
        self.items[self.last_number] = value
        heappush(self.waiting, self.last_number)
        return self.last_number

    @command
    def take(self, consumer: str) -> Item | None:
        """Claim the oldest item that nobody has. A consumer that has one gets the same one again, so that it can call
        this again; to have several, it goes by several names. Gives None where there is none."""
        if consumer not in self.taken:
            if not self.waiting:
                return None
            self.taken[consumer] = heappop(self.waiting)
        number = self.taken[consumer]
        return Item(number, self.items[number])

    @command
    def done(self, number: int, consumer: str) -> bool:
        """It is done, and goes. False, and nothing is changed, where this consumer has not got it: it said so before,
        or somebody gave the item back."""
        if self.taken.get(consumer) != number:
            return False
        del self.taken[consumer], self.items[number]
        return True

    @command
    def give_back(self, consumer: str) -> int | None:
        """What the consumer has is for others again, as the oldest. Gives its number, or None where it has none."""
        number = self.taken.pop(consumer, None)
        if number is not None:
            heappush(self.waiting, number)
        return number

    def undone(self) -> int:
        """How many items are not done, those that consumers have among them. For `query`, as `taken_by`."""
        return len(self.items)

    def taken_by(self) -> dict[str, int]:
        """Which consumer has which item."""
        return dict(self.taken)
