from random import Random

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.testing.histories import KEY, damage, is_explained, not_applied, ok, random_history, unknown
from txraft.kv import CompareAndSet, Delete, Result, Set
from txraft.testing.history import Get, Operation, Outcome
from txraft.testing.linearizability import Verdict, check
from txraft.testing.search import Finding

ONE, TWO, THREE = b"1", b"2", b"3"


class Judging(SynchronousTestCase):
    """Assertions about verdicts."""

    def assert_linearizable(self, *operations: Operation) -> None:
        verdict = check(operations)
        self.assertTrue(verdict.ok, str(verdict))
        self.assertTrue(is_explained(operations), "the slow judge disagrees")

    def assert_wrong(self, *operations: Operation) -> Verdict:
        verdict = check(operations)
        self.assertFalse(verdict.ok)
        self.assertIs(verdict.finding, Finding.NOT_LINEARIZABLE)
        self.assertFalse(is_explained(operations), "the slow judge disagrees")
        return verdict


class ReadTests(Judging):
    """What may be read, and when."""

    def test_nothing(self) -> None:
        """Without operations nothing is wrong, and a key begins without a value."""
        self.assert_linearizable()
        self.assert_linearizable(ok(1, Get(KEY), 0, 1, None))
        self.assert_wrong(ok(1, Get(KEY), 0, 1, ONE))

    def test_during_a_write(self) -> None:
        """A read beside a write may see the old value or the new."""
        write = ok(1, Set(KEY, ONE), 0, 10)
        self.assert_linearizable(write, ok(2, Get(KEY), 1, 2, None), ok(2, Get(KEY), 3, 4, ONE))

    def test_reversed(self) -> None:
        """Once one has seen the new value, nobody sees the old one any more: Herlihy and Wing's example."""
        write = ok(1, Set(KEY, ONE), 0, 10)
        self.assert_wrong(write, ok(2, Get(KEY), 1, 2, ONE), ok(3, Get(KEY), 3, 4, None))

    def test_same_instant(self) -> None:
        """What begins in the instant in which another ends is beside it."""
        self.assert_linearizable(ok(1, Set(KEY, ONE), 0, 1), ok(2, Get(KEY), 1, 2, None))

    def test_stale_read(self) -> None:
        """A new leader, or an old one, that does not know what was acknowledged (hazard C1)."""
        self.assert_wrong(ok(1, Set(KEY, ONE), 0, 1), ok(1, Set(KEY, TWO), 2, 3), ok(2, Get(KEY), 4, 5, ONE))

    def test_order_seen_by_two(self) -> None:
        """Two writes at one time may come in either order, the same for everybody."""
        writes = [ok(1, Set(KEY, ONE), 0, 10), ok(2, Set(KEY, TWO), 0, 10)]
        self.assert_linearizable(*writes, ok(3, Get(KEY), 1, 2, TWO), ok(3, Get(KEY), 3, 4, ONE))
        self.assert_wrong(
            *writes,
            ok(3, Get(KEY), 1, 2, ONE),
            ok(3, Get(KEY), 3, 4, TWO),
            ok(4, Get(KEY), 1, 2.5, TWO),
            ok(4, Get(KEY), 3, 4, ONE),
        )

    def test_from_nowhere(self) -> None:
        """A value that nobody wrote, or that is written later."""
        self.assert_wrong(ok(1, Set(KEY, ONE), 0, 1), ok(2, Get(KEY), 2, 3, TWO), ok(1, Set(KEY, TWO), 4, 5))

    def test_keys_apart(self) -> None:
        """Each key is a register of its own; the verdict names the one that is wrong."""
        other = [ok(1, Set(b"other", ONE), 0, 1), ok(1, Get(b"other"), 2, 3, ONE)]
        verdict = check([*other, ok(2, Get(KEY), 4, 5, None)])
        self.assertTrue(verdict.ok, str(verdict))
        self.assertEqual(check([*other, ok(2, Get(KEY), 4, 5, ONE)]).key, KEY)


class ChangeTests(Judging):
    """What changes may answer."""

    def test_lost_update(self) -> None:
        """An acknowledged write that a second client's compare-and-set did not find, and overwrote."""
        self.assert_wrong(
            ok(1, Set(KEY, ONE), 0, 1),
            ok(2, CompareAndSet(KEY, ONE, TWO), 2, 3),
            ok(3, CompareAndSet(KEY, ONE, THREE), 2, 3),
        )
        self.assert_linearizable(
            ok(1, Set(KEY, ONE), 0, 1),
            ok(2, CompareAndSet(KEY, ONE, TWO), 2, 3),
            ok(3, CompareAndSet(KEY, ONE, THREE), 2, 3, Result.MISMATCH),
        )

    def test_applied_twice(self) -> None:
        """A compare-and-set that was sent again and applied again, after another had put the old value back
        (hazard C5)."""
        before = [ok(1, Set(KEY, ONE), 0, 1), ok(2, CompareAndSet(KEY, ONE, TWO), 2, 9)]
        back = [ok(3, Get(KEY), 3, 4, TWO), ok(3, Set(KEY, ONE), 5, 6)]
        self.assert_linearizable(*before, *back, ok(3, Get(KEY), 10, 11, ONE))
        self.assert_wrong(*before, *back, ok(3, Get(KEY), 10, 11, TWO))

    def test_refused_compare_and_set(self) -> None:
        """It needs a moment without the old value; with another value or none, which the API does not tell apart."""
        for result in (Result.MISMATCH, Result.NOT_FOUND):
            refused = ok(1, CompareAndSet(KEY, ONE, TWO), 2, 3, result)
            self.assert_linearizable(refused)
            self.assert_linearizable(ok(1, Set(KEY, THREE), 0, 1), refused, ok(1, Get(KEY), 4, 5, THREE))
            self.assert_wrong(ok(1, Set(KEY, ONE), 0, 1), refused)

    def test_delete(self) -> None:
        """It says whether there was something to delete."""
        self.assert_linearizable(ok(1, Delete(KEY), 0, 1, Result.NOT_FOUND))
        self.assert_wrong(ok(1, Delete(KEY), 0, 1))
        write = ok(1, Set(KEY, ONE), 0, 1)
        self.assert_linearizable(write, ok(1, Delete(KEY), 2, 3), ok(1, Delete(KEY), 4, 5, Result.NOT_FOUND))
        self.assert_wrong(write, ok(1, Delete(KEY), 2, 3, Result.NOT_FOUND))
        self.assert_wrong(write, ok(1, Delete(KEY), 2, 3), ok(2, Delete(KEY), 2, 3))
        self.assert_wrong(write, ok(1, Delete(KEY), 2, 3), ok(1, Get(KEY), 4, 5, ONE))

    def test_impossible_answers(self) -> None:
        """No order gives an answer that the operation never has."""
        for action in (Get(KEY), Set(KEY, ONE), Delete(KEY), CompareAndSet(KEY, ONE, TWO)):
            self.assert_wrong(ok(1, action, 0, 1, Result.INVALID))
        self.assert_wrong(ok(1, Set(KEY, ONE), 0, 1, Result.NOT_FOUND))
        self.assert_wrong(ok(1, Delete(KEY), 0, 1, None))


class DoubtTests(Judging):
    """Outcomes other than success."""

    def test_unknown_seen_late(self) -> None:
        """It may take effect long after the client has given up, once."""
        lost = unknown(1, Set(KEY, ONE), 0)
        later = [ok(2, Set(KEY, TWO), 10, 11), ok(2, Get(KEY), 12, 13, TWO), ok(2, Get(KEY), 14, 15, ONE)]
        self.assert_linearizable(lost, *later)
        self.assert_wrong(lost, *later, ok(2, Get(KEY), 16, 17, TWO))
        self.assert_wrong(*later)

    def test_unknown_never_seen(self) -> None:
        """An operation without an answer need not take effect, ever."""
        self.assert_linearizable(unknown(1, Delete(KEY), 2), ok(2, Set(KEY, ONE), 0, 1), ok(2, Get(KEY), 3, 4, ONE))

    def test_unknown_not_yet_invoked(self) -> None:
        """It takes no effect before it is invoked."""
        self.assert_wrong(ok(2, Get(KEY), 0, 1, ONE), unknown(1, Set(KEY, ONE), 2))

    def test_unknown_in_a_chain(self) -> None:
        """A run of them may stand behind one answer."""
        chain = [unknown(1, Set(KEY, ONE), 0), unknown(2, CompareAndSet(KEY, ONE, TWO), 0)]
        self.assert_linearizable(*chain, ok(3, Get(KEY), 5, 6, TWO))
        self.assert_wrong(*chain, ok(3, Get(KEY), 5, 6, TWO), ok(3, Get(KEY), 7, 8, ONE))

    def test_unknown_that_only_results_show(self) -> None:
        """A write whose value nobody read may still be why a delete found something, or a compare-and-set did not."""
        self.assert_linearizable(unknown(1, Set(KEY, ONE), 0), ok(2, Delete(KEY), 5, 6))
        self.assert_wrong(unknown(1, Set(KEY, ONE), 0), ok(2, Delete(KEY), 5, 6), ok(2, Delete(KEY), 7, 8))
        refused = ok(2, CompareAndSet(KEY, TWO, THREE), 5, 6, Result.MISMATCH)
        self.assert_linearizable(ok(2, Set(KEY, TWO), 1, 2), unknown(1, Set(KEY, ONE), 0), refused)

    def test_not_applied(self) -> None:
        """The promise is held to: nobody ever sees it (hazard C9: what is refused has no effect)."""
        refused = not_applied(1, Set(KEY, ONE), 0, 1)
        self.assert_linearizable(refused, ok(2, Get(KEY), 2, 3, None))
        verdict = self.assert_wrong(refused, ok(2, Get(KEY), 2, 3, ONE))
        self.assertEqual(verdict.counterexample, (refused, ok(2, Get(KEY), 2, 3, ONE)))
        self.assert_wrong(ok(2, Set(KEY, TWO), 0, 1), not_applied(1, Delete(KEY), 2, 3), ok(2, Get(KEY), 2, 3, None))


class RandomTests(Judging):
    """Against the slow judge."""

    def compare(self, seed: int, values: int | None) -> Verdict:
        random = Random(seed)
        history = random_history(random, random.randrange(2, 10), random.randrange(1, 5), values, doubt=0.3)
        for _ in range(random.randrange(1, 4) if seed % 2 else 0):
            history = damage(random, history)
        random.shuffle(history)
        verdict = check(history)
        self.assertEqual(verdict.ok, is_explained(history), f"seed {seed}, {values} values: {verdict}\n{history}")
        if verdict.ok:
            self.assertEqual(verdict.counterexample, ())
        else:
            self.assertTrue(set(verdict.counterexample) <= set(history))
            self.assertFalse(is_explained(verdict.counterexample), f"seed {seed}, {values} values: {verdict}")
        return verdict

    def test_against_every_order(self) -> None:
        """Thousands of small histories, half of them damaged, get the verdict that trying every order gives, and
        counter-examples that have no explanation either."""
        for values in (2, 3, None):
            verdicts = [self.compare(seed, values) for seed in range(3000)]
            self.assertTrue(all(verdict.ok for verdict in verdicts[::2]))
            wrong = sum(not verdict.ok for verdict in verdicts)
            self.assertTrue(wrong > 500, f"of {values} values only {wrong} were wrong")


class SizeTests(SynchronousTestCase):
    """As large as tests make them."""

    def setUp(self) -> None:
        self.history = random_history(Random(1), 10_000, clients=200, values=None, doubt=0.1, keys=20)

    def test_fast(self) -> None:
        """Ten thousand operations, ten at a time on each key, with little search."""
        verdict = check(self.history)
        self.assertTrue(verdict.ok, str(verdict))
        self.assertLess(verdict.steps, 20_000)

    def test_needle(self) -> None:
        """One stale read among them is found, and shown with little beside it."""
        gets = [index for index, each in enumerate(self.history) if each.answer and isinstance(each.action, Get)]
        first, last = self.history[gets[100]], self.history[gets[-1]]
        self.history[gets[-1]] = evolve(last, action=first.action, answer=first.answer)
        verdict = check(self.history)
        self.assertIs(verdict.finding, Finding.NOT_LINEARIZABLE)
        self.assertEqual(verdict.key, first.action.key)
        self.assertIn(self.history[gets[-1]], verdict.counterexample)
        self.assertLess(len(verdict.counterexample), 10)

    def test_many_unknown(self) -> None:
        """Hundreds of writes of unknown outcome cost little, in a history that is right and in one that is not."""
        lost = [unknown(client, Set(KEY, b"lost %d" % client), client) for client in range(300)]
        seen = []
        for number in range(100):
            at = 400 + 3 * number
            seen += [
                ok(1000, Set(KEY, b"%d" % number), at, at + 0.5),
                ok(1000, Get(KEY), at + 1, at + 1.5, b"lost %d" % (3 * number)),
                ok(1000, Delete(KEY), at + 2, at + 2.5),
            ]
        self.assertLess(check([*lost, *seen]).steps, 2_000)
        self.assertTrue(check([*lost, *seen]).ok)
        again = ok(1000, Get(KEY), 1000, 1001, b"lost 3")
        self.assertIs(check([*lost, *seen, again]).finding, Finding.NOT_LINEARIZABLE)

    def test_memory(self) -> None:
        """Where many orders lead to one state, the search goes on from it once: here are 2 to the power of 100."""
        pairs = [
            ok(client, Set(KEY, value), at, at + 0.5) for at in range(100) for client, value in enumerate([ONE, TWO])
        ]
        compared = [unknown(3, CompareAndSet(KEY, value, THREE), 0) for value in (ONE, TWO)]
        verdict = check([*pairs, *compared, ok(1, Get(KEY), 100, 101, b"4")])
        self.assertIs(verdict.finding, Finding.NOT_LINEARIZABLE)
        self.assertLess(verdict.steps, 1_000)

    def test_undecided(self) -> None:
        """A search that is given up is no proof, and says so."""
        verdict = check(self.history, step_limit=100)
        self.assertIs(verdict.finding, Finding.UNDECIDED)
        self.assertFalse(verdict.ok)
        self.assertEqual(
            str(verdict), f"UNDECIDED: 100 steps were not enough for key {verdict.key!r}, so nothing is proven"
        )
        wrong = ok(1, Get(KEY), 0, 1, ONE)
        self.assertIs(check([*self.history, wrong], step_limit=100).finding, Finding.NOT_LINEARIZABLE)


class TextTests(SynchronousTestCase):
    """What a person gets to read."""

    def test_counterexample(self) -> None:
        """The operations that matter, as they were in time."""
        verdict = check(
            [
                ok(1, Set(KEY, ONE), 0, 1),
                ok(4, Get(KEY), 0.5, 0.6, None),
                ok(1, Set(KEY, TWO), 2, 4),
                unknown(5, Set(KEY, THREE), 2),
                ok(2, Get(KEY), 3, 5, TWO),
                ok(3, Get(KEY), 6, 7, ONE),
                ok(3, Get(KEY), 8, 9, b"anything"),
            ]
        )
        self.assertEqual(
            str(verdict).splitlines(),
            [
                "NOT linearizable: nothing explains the answers on key b'key' up to client 3: get -> '1'",
                "  0.000000 s  client 1: set '1' -> done  ||",
                "  2.000000 s  client 1: set '2' -> done    |-|",
                "  3.000000 s  client 2: get -> '2'          |-|",
                "  6.000000 s  client 3: get -> '1'             ||",
            ],
        )

    def test_open(self) -> None:
        """What was never answered is open to the right, what was refused says so."""
        verdict = check(
            [
                not_applied(1, Set(KEY, ONE), 0, 2),
                unknown(2, CompareAndSet(KEY, TWO, ONE), 1),
                ok(3, Get(KEY), 3, 4, ONE),
            ]
        )
        self.assertEqual(
            str(verdict).splitlines()[1:],
            [
                "  0.000000 s  client 1: set '1' -> not applied     |-|",
                "  1.000000 s  client 2: cas '2' to '1' -> unknown   |---.",
                "  3.000000 s  client 3: get -> '1'                    ||",
            ],
        )

    def test_long(self) -> None:
        """Where much is needed to fail, the end of it is shown."""
        chain = [
            ok(1, CompareAndSet(KEY, b"%d" % number, b"%d" % (number + 1)), 2 * number, 2 * number + 1)
            for number in range(1, 100)
        ]
        verdict = check([ok(1, Set(KEY, ONE), 0, 1), *chain, ok(1, Get(KEY), 300, 301, None)])
        self.assertEqual(verdict.finding, Finding.NOT_LINEARIZABLE)
        lines = str(verdict).splitlines()
        self.assertIn("get -> none", lines[-1])
        self.assertLess(len(lines), 50)

    def test_right(self) -> None:
        """A history that is right says that too."""
        self.assertEqual(str(check([ok(1, Set(KEY, ONE), 0, 1)])), "linearizable, in 1 steps")
        self.assertEqual(check([]).finding, Finding.LINEARIZABLE)
        self.assertEqual(Operation(1, Get(KEY), 0).outcome, Outcome.UNKNOWN)
