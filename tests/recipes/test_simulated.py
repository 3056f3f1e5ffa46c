"""Locks on simulated clusters under faults; and machines with the bugs that such machines have, which are found."""

from collections.abc import Callable, Hashable
from random import Random
from typing import Any, ClassVar, Generic, TypeVar

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.trial.unittest import SynchronousTestCase

from txraft import command
from txraft.objects.commands import Commands
from txraft.objects.encoding import pack
from txraft.objects.machine import ObjectMachine
from txraft.objects.writing import writer
from txraft.recipes import Holding, Locks
from txraft.testing.application import SimulatedHome
from txraft.testing.seeds import first_failure
from txraft.testing.violation import Violation

NAMES = ("a", "b")
HOLDERS = ("x", "y", "z")

L = TypeVar("L", bound=Locks)


@define(eq=False)
class LockApplication(Generic[L]):
    """An `Application` of locks. It has a rule of its own: a token is one holder's, of one lock, on every node and
    after every restart, and each is higher than those that a node had seen."""

    kind: Callable[[SimulatedHome], L]
    holders: dict[int, tuple[str, str]] = field(factory=dict)
    """Whose each token is: of which lock, and who."""
    latest: dict[str, Holding] = field(factory=dict)
    """What was seen last of each lock, somewhere."""
    highest: dict[Any, int] = field(factory=dict)
    """By machine, of the tokens that it has had."""
    of: ClassVar[Commands[Locks]] = Commands(Locks)

    def machine(self, home: SimulatedHome) -> ObjectMachine[L]:
        """As Application."""
        return ObjectMachine(lambda: self.kind(home), home)

    def command(self, random: Random) -> bytes:
        """As Application."""
        name, holder = random.choice(NAMES), random.choice(HOLDERS)
        method = random.choice((Locks.acquire_lock, Locks.acquire_lock, Locks.renew_lock, Locks.release_lock))
        args: tuple[Any, ...] = (name, holder)
        if method is Locks.acquire_lock:
            args = (*args, "", 10.0, random.choice((None, self.latest.get(name))))
        return self.of.of(method).encode(args, {})

    def state(self, machine: ObjectMachine[L]) -> Hashable:
        """As Application, and where the rule is looked after."""
        locks = machine.object
        before = self.highest.get(machine, 0)
        if locks.last_token < before:
            raise Violation("Tokens", f"{locks.last_token} comes after {before}")
        self.highest[machine] = locks.last_token
        for name, holding in locks.locks.items():
            if holding.token > locks.last_token:
                raise Violation("Tokens", f"{name!r} has {holding}, and the highest is {locks.last_token}")
            who = self.holders.setdefault(holding.token, (name, holding.holder))
            if who != (name, holding.holder):
                raise Violation("Tokens", f"{holding.token} is of {who}, and of {(name, holding.holder)}")
            self.latest[name] = holding
        return pack(writer(type(locks))(locks))


@define(slots=False)
class ForgetfulLocks(Locks):
    """A planted bug: a token is the highest of those that are held, and one more."""

    @command
    def acquire_lock(
        self, name: str, holder: str, who: str, lease: float, instead_of: Holding | None = None
    ) -> Holding:
        """As Locks."""
        self.last_token = max((each.token for each in self.locks.values()), default=0)
        return Locks.acquire_lock(self, name, holder, who, lease, instead_of)


@define(slots=False)
class TimedLocks(Locks):
    """A planted bug, which many a lock has: the server ends the lease, by its clock."""

    until: dict[str, float] = field(factory=dict)
    clock: ClassVar[IReactorTime]

    @command
    def acquire_lock(
        self, name: str, holder: str, who: str, lease: float, instead_of: Holding | None = None
    ) -> Holding:
        """As Locks, but a lock is free that was not renewed."""
        now = self.clock.seconds()
        if now > self.until.get(name, now):
            self.locks.pop(name, None)
        self.until[name] = now + 1.0
        return Locks.acquire_lock(self, name, holder, who, lease, instead_of)

    @classmethod
    def of(cls, home: SimulatedHome) -> "TimedLocks":
        """With the clock of that process."""
        return type("TimedLocks", (cls,), {"clock": home.clock})()


@define(slots=False)
class RandomLocks(Locks):
    """A planted bug: tokens that cannot be guessed."""

    chance: ClassVar[Random]

    @command
    def acquire_lock(
        self, name: str, holder: str, who: str, lease: float, instead_of: Holding | None = None
    ) -> Holding:
        """As Locks, with tokens that grow by chance."""
        self.last_token += self.chance.randrange(1000)
        return Locks.acquire_lock(self, name, holder, who, lease, instead_of)

    @classmethod
    def of(cls, home: SimulatedHome) -> "RandomLocks":
        """With chance of that process."""
        return type("RandomLocks", (cls,), {"chance": home.random})()


@define(slots=False)
class SampledLocks(Locks):
    """A planted bug: it keeps three tokens, and lets go of the one that its set has first. The order of a set of whole
    numbers follows from what was done to it, and is another one where a snapshot was restored."""

    kept: set[int] = field(factory=set)

    @command
    def acquire_lock(
        self, name: str, holder: str, who: str, lease: float, instead_of: Holding | None = None
    ) -> Holding:
        """As Locks."""
        holding = Locks.acquire_lock(self, name, holder, who, lease, instead_of)
        self.kept.add(-8 * holding.token)  # they all want the same place in the table
        if len(self.kept) > 3:
            self.kept.remove(next(iter(self.kept)))
        return holding


class LocksTests(SynchronousTestCase):
    def found(self, kind: Callable[[SimulatedHome], Locks], seeds: int) -> str:
        """The rule that is broken."""
        report = first_failure(lambda: LockApplication(kind), range(1, seeds + 1), shrinking=0)
        return "none" if report is None or report.violation is None else report.violation.rule

    def test_locks(self) -> None:
        """Crashes, snapshots and partitions leave each token to one holder."""
        failed = first_failure(lambda: LockApplication(lambda _: Locks()), range(1, 13))
        self.assertIsNone(failed, failed and failed.violation)

    def test_tokens_used_again(self) -> None:
        """All nodes agree, and still it is wrong: the rule finds it."""
        self.assertEqual(self.found(lambda _: ForgetfulLocks(), 5), "Tokens")

    def test_time_in_a_command(self) -> None:
        """Nodes that apply it at other times hold other things."""
        self.assertEqual(self.found(TimedLocks.of, 20), "State Machine Safety")

    def test_chance_in_a_command(self) -> None:
        """So do those that throw dice."""
        self.assertIn(self.found(RandomLocks.of, 5), ("State Machine Safety", "Tokens"))

    def test_order_of_a_set(self) -> None:
        """It is not the same after a snapshot was restored."""
        self.assertEqual(self.found(lambda _: SampledLocks(), 20), "State Machine Safety")
