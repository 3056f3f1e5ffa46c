"""A lock with a lease: who has it, until when, and how it comes to somebody else."""

from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.recipes.world import DONE, FORGOTTEN, REFUSED, STEP, UNHEARD, Fate, Program, World
from txraft import BadCommand
from txraft.recipes import Held, Lock, Locks, Loss
from txraft.recipes.lock import PATIENCE

LEASE = 3.0


class LockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        self.first, self.second = self.world.program(), self.world.program()

    def got(self, program: Program) -> Held:
        """It asks for the lock, and has it soon."""
        program.acquire()
        self.world.run(1)
        self.assertIsNotNone(program.held, program.errors)
        assert program.held is not None
        self.assertTrue(program.held.is_held)
        return program.held

    def waiting(self, program: Program) -> None:
        """It asks for the lock, which somebody else has."""
        program.acquire()
        self.world.run(1)
        self.assertIsNotNone(program.acquiring)

    def seconds_until_held(self, program: Program, at_most: float) -> float:
        steps = 0
        while program.acquiring is not None:
            self.assertLess(steps * STEP, at_most)
            self.world.run(STEP)
            steps += 1
        return steps * STEP

    def current(self) -> Any:
        return self.world.object.lock_of("name")

    def test_held_and_released(self) -> None:
        """It is kept for as long as it is renewed, and then the next one has it at once, with a higher token."""
        held = self.got(self.first)
        self.waiting(self.second)
        self.world.run(10 * LEASE)
        self.assertEqual((held.is_held, self.current().who), (True, "program 0"))
        self.assertEqual(self.current().token, held.token)
        lost, released = held.lost, held.release()
        self.assertEqual((self.successResultOf(lost), held.is_held), (Loss.RELEASED, False))
        self.assertEqual(self.successResultOf(held.lost), Loss.RELEASED)
        self.assertNoResult(released)
        self.assertLess(self.seconds_until_held(self.second, 1), 1)
        self.successResultOf(released)
        self.successResultOf(held.release())
        self.assertEqual((self.first.tokens, self.second.tokens), ([1], [2]))

    def test_no_memory(self) -> None:
        """A lock that nobody holds is forgotten, and its tokens are not used again."""
        self.got(self.first).release()
        self.world.run(1)
        self.assertEqual(self.world.object, Locks(last_token=1))
        self.first.held = None
        self.assertEqual(self.got(self.first).token, 2)

    def test_context(self) -> None:
        """It is released at the end of the block, also where that raises."""

        async def work() -> None:
            async with await self.first.lock.acquire() as held:
                self.assertTrue(held.is_held)
                raise KeyError

        done = Deferred.fromCoroutine(work())
        self.world.run(1)
        self.failureResultOf(done, KeyError)
        self.assertIsNone(self.current())

    def test_renews_each_third(self) -> None:
        """And no more often."""
        self.got(self.first)
        self.first.service.called.clear()
        self.world.run(10 * LEASE)
        self.assertAlmostEqual(len(self.first.service.called), 30, delta=1)
        self.assertEqual({*self.first.service.called}, {"renew_lock"})

    def test_holder_gone(self) -> None:
        """It is taken over from one that renews no more, after its lease and a tenth, not before."""
        held = self.got(self.first)
        self.waiting(self.second)
        self.first.pause(True)
        waited = self.seconds_until_held(self.second, 2 * LEASE)
        self.assertGreaterEqual(waited, LEASE * PATIENCE - LEASE / 3 - 3 * STEP)
        self.first.pause(False)
        self.assertEqual(self.first.loss, Loss.EXPIRED)
        self.assertFalse(held.is_held)
        self.assertEqual(self.second.tokens, [2])

    def test_paused_for_less(self) -> None:
        """A pause that is shorter than the lease costs nothing."""
        held = self.got(self.first)
        self.waiting(self.second)
        self.first.pause(True)
        self.world.run(LEASE * 0.6)
        self.first.pause(False)
        self.world.run(10 * LEASE)
        self.assertTrue(held.is_held)
        self.assertIsNotNone(self.second.acquiring)

    def test_what_a_paused_holder_may_still_do(self) -> None:
        """It goes on before its timers run, and its write comes late: the token is refused by what is written to."""
        highest, refused = 0, []

        def write(token: int) -> None:
            nonlocal highest
            refused.append(token < highest)
            highest = max(highest, token)

        held = self.got(self.first)
        self.waiting(self.second)
        write(held.token)
        self.first.pause(True)
        self.seconds_until_held(self.second, 2 * LEASE)
        assert self.second.held is not None
        write(self.second.held.token)
        self.assertIsNone(self.first.loss)  # it does not know yet
        write(held.token)
        self.assertEqual(refused, [False, False, True])

    def test_lease_of_the_holder(self) -> None:
        """Who waits goes by it, whatever its own is."""
        patient = self.world.program(lease=10.0)
        self.got(patient)
        self.waiting(self.second)
        patient.pause(True)
        self.world.run(8)
        self.assertIsNotNone(self.second.acquiring)
        self.world.run(4)
        self.assertIsNone(self.second.acquiring)

    def test_clocks_at_other_rates(self) -> None:
        """They need not run at the very same rate: the holder's is slow, and the other one's is fast."""
        slow = self.world.program(rate=0.96, lease=30.0)
        fast = self.world.program(rate=1.04, poll=STEP)
        self.got(slow)
        fast.acquire()
        self.world.run(60)
        slow.service.fate = REFUSED
        for _ in range(round(40 / STEP)):
            self.world.run(STEP)
            self.assertLessEqual(len(self.world.holding()), 1)
        self.assertEqual((slow.loss, fast.tokens), (Loss.EXPIRED, [2]))

    def test_no_majority(self) -> None:
        """A holder that is cut off says that it has lost the lock, by its own clock, at the end of the lease; the
        others take over when they have waited. When it is back it gets it again, if it asks."""
        self.got(self.first)
        self.waiting(self.second)
        self.first.service.fate = REFUSED
        self.world.run(LEASE + STEP)
        self.assertEqual((self.first.loss, self.second.tokens), (Loss.EXPIRED, []))
        self.world.run(LEASE)
        self.assertEqual(self.second.tokens, [2])
        self.first.acquire()
        self.world.run(1000)
        self.assertIsNotNone(self.first.acquiring)
        self.first.service.fate = DONE
        self.second.release()
        self.world.run(1)
        self.assertEqual(self.first.tokens, [1, 3])

    def test_restart(self) -> None:
        """All servers at once, and nobody notices who holds the lock."""
        held = self.got(self.first)
        self.waiting(self.second)
        for _ in range(5):
            self.world.run(LEASE / 2)
            self.world.restart()
        self.world.run(LEASE)
        self.assertTrue(held.is_held)
        self.assertIsNotNone(self.second.acquiring)

    def test_renewal_unheard(self) -> None:
        """It counts from the last one that was acknowledged, though others wait for longer."""
        self.got(self.first)
        self.first.service.fate = UNHEARD
        self.world.run(LEASE + STEP)
        self.assertEqual(self.first.loss, Loss.EXPIRED)

    def test_late_acknowledgement(self) -> None:
        """The lease counts from when a renewal was sent, not from when its answer came."""
        self.got(self.first)
        self.first.service.fate = Fate(answered=LEASE * 2 / 3 - 2 * STEP)
        self.world.run(5 * LEASE)
        self.assertIsNone(self.first.loss)
        self.first.service.fate = FORGOTTEN
        self.world.run(LEASE + STEP)
        self.assertEqual(self.first.loss, Loss.EXPIRED)

    def test_acquired_too_late(self) -> None:
        """A lock of which the lease is over when the answer comes is not given (etcd #11456): it is asked for again."""
        self.first.service.fates.append(Fate(answered=LEASE + 1))
        self.first.acquire()
        self.world.run(LEASE)
        self.assertIsNone(self.first.held)
        self.world.run(2)
        assert self.first.held is not None
        self.assertEqual((self.first.held.is_held, self.current().renewal > 0), (True, True))

    def test_acquire_unheard(self) -> None:
        """It is asked for again, and is the same lock; it counts from the request that was answered, and for the others
        too, who may have seen the first one long before."""
        self.first.service.fates.extend([UNHEARD, *[REFUSED] * 2])
        self.first.acquire()
        self.waiting(self.second)
        self.seconds_until_held(self.first, LEASE)
        self.first.service.fate = REFUSED
        for _ in range(round(2 * LEASE / STEP)):
            self.world.run(STEP)
            self.assertLessEqual(len(self.world.holding()), 1)
        self.assertEqual((self.first.tokens, self.second.tokens), ([1], [2]))

    def test_release_unheard(self) -> None:
        """It is said again, until it is answered; and has no effect on who has the lock by then."""
        self.got(self.first)
        self.waiting(self.second)
        self.first.service.fates.extend([UNHEARD, REFUSED, FORGOTTEN])
        assert self.first.held is not None
        released = self.first.held.release()
        self.world.run(1)
        self.assertNoResult(released)
        self.world.run(2)
        self.successResultOf(released)
        assert self.second.held is not None
        self.assertTrue(self.second.held.is_held)

    def test_release_without_majority(self) -> None:
        """It ends when others can take over by themselves."""
        held = self.got(self.first)
        self.waiting(self.second)
        self.first.service.fate = FORGOTTEN
        released = held.release()
        self.assertEqual(self.first.loss, Loss.RELEASED)
        self.world.run(LEASE * PATIENCE + 1)
        self.successResultOf(released)
        self.assertEqual(self.second.tokens, [2])

    def test_released_by_another(self) -> None:
        """A holder finds out, at its next renewal, that somebody has released the lock in its name."""
        held = self.got(self.first)
        self.world.object.release_lock("name", self.current().holder)
        self.world.run(LEASE / 3 + 2 * STEP)
        self.assertEqual((self.first.loss, held.is_held), (Loss.TAKEN, False))

    def test_cancelled(self) -> None:
        """Whatever was asked for, the lock is not kept: before the answer, while waiting, and where the outcome is not
        known."""
        for fate in (DONE, Fate(applied=2, answered=3), UNHEARD, REFUSED, FORGOTTEN, Fate(is_told=False, answered=1)):
            program = self.world.program()
            program.service.fates.append(fate)
            program.acquire()
            program.cancel()
            self.assertIsNone(program.acquiring)
            program.errors.pop().trap(CancelledError)
            self.world.run(2 * LEASE)
            self.assertEqual((self.current(), program.held), (None, None), fate)
        self.got(self.first)
        self.waiting(self.second)
        self.second.cancel()
        self.world.run(2 * LEASE)
        self.second.errors.pop().trap(CancelledError)
        self.assertEqual(self.current().who, "program 0")
        self.assertNotIn("release_lock", self.second.service.called)  # it is known that it never had it
        self.first.release()
        self.world.run(LEASE)
        self.assertIsNone(self.current())
        for program in self.world.programs:
            self.assertEqual(program.clock.getDelayedCalls(), [])

    def test_acquire_that_comes_late(self) -> None:
        """One that takes effect after it was given up and given back leaves a lock that nobody renews: the others have
        it after a lease."""
        self.first.service.fates.append(Fate(applied=5, answered=0.5))
        self.first.acquire()
        self.world.run(1)
        self.first.cancel()
        self.world.run(5)
        self.assertEqual((self.current().who, self.first.held), ("program 0", None))
        self.second.acquire()
        self.world.run(LEASE * PATIENCE + 1)
        self.assertEqual(self.second.tokens, [2])

    def test_two_of_one(self) -> None:
        """A second acquire waits for the first, also in one program: each has a token of its own."""
        held = self.got(self.first)
        second = self.first.lock.acquire()
        self.world.run(5 * LEASE)
        self.assertNoResult(second)
        held.release()
        self.world.run(1)
        self.assertEqual(self.successResultOf(second).token, 2)

    def test_other_failures(self) -> None:
        """They are the caller's."""
        world: Any = self.world
        self.failureResultOf(Lock(self.first.clock, self.first.service, world).acquire(), BadCommand)

    def test_no_sense(self) -> None:
        """A line says what."""
        for lease in (0, -1.0, float("nan"), float("inf"), cast(float, "2")):
            with self.assertRaisesRegex(ValueError, "lease: is a number of seconds above 0, not "):
                Lock(self.first.clock, self.first.service, "name", lease)


FATES = (
    DONE,
    REFUSED,
    FORGOTTEN,
    UNHEARD,
    Fate(answered=1.5),
    Fate(answered=2.75),
    Fate(answered=4.0),
    Fate(applied=2.0, answered=2.0),
    Fate(applied=4.0, answered=0.5),
    Fate(applied=2.0, answered=2.5, is_told=False),
)
CHANGES = ("acquire", "acquire", "release", "cancel", "pause", "restart")
STEPS = st.tuples(
    st.integers(0, 2),
    st.sampled_from([*FATES, DONE, DONE, REFUSED, REFUSED, *CHANGES]),
    st.sampled_from([0.0, STEP, 0.5, 1.0, 2.0, 4.0]),
)
"""Of which program, what becomes of its requests from now on, or what it does; and how long it goes on so."""
RATES = st.lists(st.sampled_from([0.96, 1.0, 1.04]), min_size=3, max_size=3)


class SafetyTests(SynchronousTestCase):
    """Whatever is delayed, lost, paused and cancelled."""

    @settings(max_examples=500)
    @given(RATES, st.lists(STEPS, min_size=20, max_size=40))
    def test_one_at_a_time(self, rates: list[float], steps: list[Any]) -> None:
        """Of those that run, never two hold the lock at the same instant; tokens grow."""
        world = World()
        tokens: list[int] = []
        for rate in rates:
            world.program(rate=rate, poll=STEP).when_got(tokens.append)
        for step in steps:
            self.do(world, *step)
        self.assertEqual(tokens, sorted({*tokens}))

    def do(self, world: World, which: int, what: Fate | str, seconds: float) -> None:
        """One step. Two that run and have no lock ask for it."""
        program = world.programs[which]
        if isinstance(what, Fate):
            program.service.fate = what
        elif what == "restart":
            world.restart()
        elif what == "pause":
            program.pause(not program.is_paused)
        elif not program.is_paused:
            getattr(program, what)()
        for other in world.programs[:2]:
            if not other.is_paused:
                other.acquire()
        self.assertLessEqual(len(world.holding()), 1)
        for _ in range(round(seconds / STEP)):
            world.run(STEP)
            self.assertLessEqual(len(world.holding()), 1)

    @settings(max_examples=50)
    @given(RATES, st.lists(STEPS, max_size=30))
    def test_all_get_it(self, rates: list[float], steps: list[Any]) -> None:
        """When all is well again, each that asks comes to have it. It is not fair, so who had it does not ask again."""
        world = World()
        for rate in rates:
            world.program(rate=rate)
        for step in steps:
            self.do(world, *step)
        for program in world.programs:
            program.pause(False)
            program.service.fate = DONE
        waiting = [*world.programs]
        while waiting:
            for program in waiting:
                program.acquire()
            world.run(20)
            (holder,) = world.holding()
            waiting.remove(holder)
            holder.release()
