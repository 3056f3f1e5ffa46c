"""Locks on simulated clusters under faults; and machines with the bugs that such machines have, which are found."""

from random import Random
from typing import ClassVar

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.trial.unittest import SynchronousTestCase

from txraft import command
from txraft.objects.machine import ObjectMachine
from txraft.recipes import Holding, Locks
from txraft.testing import Call, simulate
from txraft.testing.application import SimulatedHome
from txraft.testing.object_application import ObjectApplication
from txraft.testing.seeds import first_failure

HOLDERS = ("x", "y", "z")


def locking(random: Random) -> Call:
    """What a program does to a lock. Who waits says whom it has seen; here it guesses, and is right often enough."""
    name, holder = random.choice("ab"), random.choice(HOLDERS)
    what = random.choice((Locks.acquire_lock, Locks.acquire_lock, Locks.renew_lock, Locks.release_lock, Locks.lock_of))
    if what is Locks.acquire_lock:
        seen = Holding(random.randrange(1, 6), random.choice(HOLDERS), "", 10.0, renewal=random.randrange(2))
        return Call(what, name, holder, "", 10.0, seen)
    return Call(what, name) if what is Locks.lock_of else Call(what, name, holder)


def tokens_are_unique(locks: Locks) -> bool:
    """On each server, and none is above the last one."""
    tokens = [each.token for each in locks.locks.values()]
    return len({*tokens}) == len(tokens) and max(tokens, default=0) <= locks.last_token


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


@define(slots=False)
class RandomLocks(Locks):
    """A planted bug: tokens that cannot be guessed."""

    chance: ClassVar[Random] = Random(1)

    @command
    def acquire_lock(
        self, name: str, holder: str, who: str, lease: float, instead_of: Holding | None = None
    ) -> Holding:
        """As Locks, with tokens that grow by chance."""
        self.last_token += self.chance.randrange(1000)
        return Locks.acquire_lock(self, name, holder, who, lease, instead_of)


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


class TimedApplication(ObjectApplication):
    """Locks that have a clock, which each process has of its own: `simulate` knows none."""

    def machine(self, home: SimulatedHome) -> ObjectMachine[TimedLocks]:
        """As Application."""
        return ObjectMachine(type("TimedLocks", (TimedLocks,), {"clock": home.clock}), home)


class LocksTests(SynchronousTestCase):
    def found(self, kind: type[Locks], seeds: int) -> str:
        """The rule that is broken."""
        found = simulate(kind, locking, range(1, seeds + 1), invariant=tokens_are_unique, model=Locks, shrinking=0)
        return "none" if found is None or found.report.violation is None else found.report.violation.rule

    def test_locks(self) -> None:
        """Crashes, snapshots and partitions leave each token to one holder, as if there were one server."""
        found = simulate(Locks, locking, range(1, 13), invariant=tokens_are_unique)
        self.assertIsNone(found, str(found))

    def test_tokens_used_again(self) -> None:
        """All nodes agree, and still it is wrong: the model finds it."""
        self.assertEqual(self.found(ForgetfulLocks, 5), "Linearizability")

    def test_time_in_a_command(self) -> None:
        """Nodes that apply it at other times hold other things."""
        report = first_failure(lambda: TimedApplication(TimedLocks, locking, Locks), range(1, 21), shrinking=0)
        assert report is not None
        assert report.violation is not None
        self.assertEqual(report.violation.rule, "State Machine Safety")

    def test_chance_in_a_command(self) -> None:
        """So do those that throw dice."""
        self.assertEqual(self.found(RandomLocks, 5), "State Machine Safety")

    def test_order_of_a_set(self) -> None:
        """It is not the same after a snapshot was restored."""
        self.assertEqual(self.found(SampledLocks, 20), "State Machine Safety")
