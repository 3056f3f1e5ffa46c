"""`txraft.core.progress`: probing, replicating, and what must not disturb either."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txraft.core.progress import Progress, ProgressState

PROBE, REPLICATE, SNAPSHOT = ProgressState.PROBE, ProgressState.REPLICATE, ProgressState.SNAPSHOT
PLENTY = 1000


def probing(next_index: int = 11) -> Progress:
    """As an election leaves it: the leader's log ended at next_index - 1 (Figure 2)."""
    return Progress(next_index=next_index, last_contact=0.0)


def replicating(match_index: int = 10, request_id: int = 1) -> Progress:
    """The first probe matched at match_index."""
    progress = probing(match_index + 1)
    progress.sent(request_id, match_index, 0, now=0.0)
    progress.accepted(request_id, match_index)
    return progress


def numbers(progress: Progress) -> tuple[ProgressState, int, int]:
    return progress.state, progress.match_index, progress.next_index


class ProbeTests(SynchronousTestCase):
    """Where do the logs match?"""

    def test_one_at_a_time(self) -> None:
        """hazard R18: while a probe is not answered nothing else is sent."""
        progress = probing()
        self.assertTrue(progress.may_send(PLENTY, PLENTY))
        progress.sent(1, 10, 0, now=0.0)
        self.assertFalse(progress.may_send(PLENTY, PLENTY))
        self.assertEqual(numbers(progress), (PROBE, 0, 11))

    def test_match(self) -> None:
        """The probe matched: entries go from there on."""
        progress = probing()
        progress.sent(1, 10, 0, now=0.0)
        progress.accepted(1, 10)
        self.assertEqual(numbers(progress), (REPLICATE, 10, 11))
        self.assertTrue(progress.may_send(1, 1))

    def test_no_match(self) -> None:
        """§5.3: next_index goes back, and the next probe may leave at once."""
        progress = probing()
        progress.sent(1, 10, 0, now=0.0)
        progress.refused(1, hint=4, snapshot_index=0)
        self.assertEqual(numbers(progress), (PROBE, 0, 5))
        self.assertTrue(progress.may_send(PLENTY, PLENTY))

    def test_match_below_what_is_known(self) -> None:
        """It makes no loss of data good; the next one that matches all that is known does (hazard R23)."""
        progress = probing()
        progress.accepted(9, 10)
        progress.has_lost_data = True
        progress.sent(1, 5, 0, now=0.0)
        progress.accepted(1, 5)
        self.assertEqual(numbers(progress), (REPLICATE, 10, 11))
        self.assertTrue(progress.has_lost_data)
        progress.sent(2, 10, 0, now=0.0)
        progress.accepted(2, 10)
        self.assertEqual(numbers(progress), (REPLICATE, 10, 11))
        self.assertFalse(progress.has_lost_data)

    def test_another_request_matched(self) -> None:
        """hazard R8: a late success says what the follower has, whatever it answers."""
        progress = probing()
        progress.sent(5, 10, 0, now=0.0)
        progress.accepted(4, 7)
        self.assertEqual(progress.match_index, 7)
        progress.accepted(5, 10)
        self.assertEqual(numbers(progress), (REPLICATE, 10, 11))

    def test_another_request_matched_further(self) -> None:
        """hazard R15: a late success says more than the probe's will. The probe is not the last one all the same: when
        both have come, replication goes on, and no further probe is wanted, the answer to which would be late as well.
        """
        progress = replicating()
        progress.sent(2, 14, 10, now=0.0)
        progress.probe()
        progress.sent(3, 10, 0, now=0.0)
        progress.accepted(2, 14)
        if progress.state is PROBE and progress.may_send(PLENTY, PLENTY):
            progress.sent(4, 14, 0, now=0.0)
        progress.accepted(3, 10)
        self.assertEqual(numbers(progress), (REPLICATE, 14, 15))

    def test_probing_again_keeps_the_place(self) -> None:
        """A probe that was lost is sent again, and not from the very beginning."""
        progress = probing()
        progress.sent(1, 10, 0, now=0.0)
        progress.probe()
        self.assertEqual(numbers(progress), (PROBE, 0, 11))
        self.assertTrue(progress.may_send(PLENTY, PLENTY))


class ReplicateTests(SynchronousTestCase):
    """Entries flow."""

    def test_does_not_wait_for_answers(self) -> None:
        """next_index moves on at once; match_index waits."""
        progress = replicating()
        progress.sent(2, 12, 10, now=0.0)
        progress.sent(3, 15, 10, now=0.0)
        self.assertEqual(numbers(progress), (REPLICATE, 10, 16))
        self.assertTrue(progress.may_send(3, 21))

    def test_limits(self) -> None:
        """hazard R18: so many messages, so many bytes."""
        progress = replicating()
        progress.sent(2, 11, 10, now=0.0)
        progress.sent(3, 12, 10, now=0.0)
        for messages, size, may in [(3, 21, True), (2, 21, False), (3, 20, False)]:
            self.assertIs(progress.may_send(messages, size), may, (messages, size))

    def test_one_answer_for_all_before(self) -> None:
        """hazard R15: an answer frees the place of all that it covers, answers to which may be lost, and no more."""
        progress = replicating()
        for index in (11, 12, 13):
            progress.sent(index, index, 10, now=0.0)
        progress.accepted(12, 12)
        self.assertEqual(numbers(progress), (REPLICATE, 12, 14))
        for messages, size, may in [(2, 11, True), (1, 11, False), (2, 10, False)]:
            self.assertIs(progress.may_send(messages, size), may, (messages, size))

    def test_late_success(self) -> None:
        """hazard R3: a late or doubled success is no news, and match_index stays."""
        progress = replicating()
        progress.sent(2, 12, 10, now=0.0)
        progress.sent(3, 14, 10, now=0.0)
        progress.accepted(3, 14)
        for request_id, match_index in [(2, 12), (3, 14)]:
            progress.accepted(request_id, match_index)
            self.assertEqual(numbers(progress), (REPLICATE, 14, 15))
        self.assertTrue(progress.may_send(1, 1))

    def test_refusal(self) -> None:
        """hazard R15: what was in flight is not counted any more once the place is to be found anew."""
        progress = replicating()
        progress.sent(2, 12, 10, now=0.0)
        progress.sent(3, 14, 10, now=0.0)
        progress.refused(3, hint=11, snapshot_index=0)
        self.assertEqual(numbers(progress), (PROBE, 10, 12))
        self.assertTrue(progress.may_send(1, 1))
        progress.sent(4, 11, 0, now=0.0)
        progress.accepted(4, 11)
        self.assertTrue(progress.may_send(1, 1))

    def test_refusal_below_the_match(self) -> None:
        """hazard R3: match_index is known, whatever the hint says, and next_index stays above it."""
        progress = replicating()
        progress.sent(2, 12, 10, now=0.0)
        progress.refused(2, hint=3, snapshot_index=0)
        self.assertEqual(numbers(progress), (PROBE, 10, 11))

    def test_stale_refusal(self) -> None:
        """hazard R8: one that answers nothing under way changes nothing."""
        progress = replicating()
        progress.sent(2, 12, 10, now=0.0)
        progress.accepted(2, 12)
        progress.sent(3, 14, 10, now=0.0)
        for request_id in (1, 2, 9):
            progress.refused(request_id, hint=3, snapshot_index=0)
            self.assertEqual(numbers(progress), (REPLICATE, 12, 15))
            self.assertFalse(progress.may_send(1, PLENTY))

    def test_reconnected(self) -> None:
        """hazard R15: what was in flight may be lost, so it all is sent again, after one probe."""
        progress = replicating()
        progress.sent(2, 14, 10, now=0.0)
        progress.probe()
        self.assertEqual(numbers(progress), (PROBE, 10, 11))
        self.assertTrue(progress.may_send(1, 1))

    def test_answer_to_what_was_given_up(self) -> None:
        """hazard R3: an answer that comes after all moves match_index, and next_index above it."""
        progress = replicating()
        progress.sent(2, 14, 10, now=0.0)
        progress.probe()
        progress.accepted(2, 14)
        self.assertEqual((progress.match_index, progress.next_index), (14, 15))


class SnapshotTests(SynchronousTestCase):
    """What the follower needs is compacted: the leader's log starts after entry 20."""

    def refused(self) -> Progress:
        """The follower has entry 10, and has refused entry 20."""
        progress = replicating()
        progress.probe_at(20)
        progress.sent(2, 20, 0, now=0.0)
        progress.refused(2, hint=12, snapshot_index=20)
        return progress

    def test_a_probe_comes_first(self) -> None:
        """Often only an answer was lost. The probe stands where the log starts, whatever was under way."""
        progress = replicating()
        progress.sent(2, 14, 10, now=0.0)
        progress.probe_at(20)
        self.assertEqual(numbers(progress), (PROBE, 10, 21))
        self.assertTrue(progress.may_send(1, 1))
        progress.sent(3, 20, 0, now=0.0)
        progress.accepted(3, 20)
        self.assertEqual(numbers(progress), (REPLICATE, 20, 21))

    def test_a_probe_never_stands_below_the_match(self) -> None:
        """hazard R3: a late answer has said more."""
        progress = replicating(match_index=25)
        progress.probe_at(20)
        self.assertEqual(numbers(progress), (PROBE, 25, 26))

    def test_nothing_is_sent(self) -> None:
        """hazard R13: no entries can be; an answer that is owed is none, and so nobody asks."""
        progress = self.refused()
        self.assertEqual(numbers(progress)[:2], (SNAPSHOT, 10))
        self.assertFalse(progress.may_send(PLENTY, PLENTY))
        self.assertFalse(progress.is_due(100.0, patience=0.5))
        self.assertFalse(progress.refused(2, hint=12, snapshot_index=20), "a copy of the same refusal")

    def test_the_log_starts_later_by_now(self) -> None:
        """hazard R17: what refused where the log started then does not match where it starts now."""
        progress = replicating()
        progress.probe_at(20)
        progress.sent(2, 20, 0, now=0.0)
        progress.refused(2, hint=19, snapshot_index=30)
        self.assertIs(progress.state, SNAPSHOT)

    def test_a_refusal_further_up(self) -> None:
        """The logs may yet match above the log's start: there is a probe for that."""
        progress = replicating()
        progress.probe_at(25)
        progress.sent(2, 25, 0, now=0.0)
        progress.refused(2, hint=22, snapshot_index=20)
        self.assertEqual(numbers(progress), (PROBE, 10, 23))

    def test_entries_refused(self) -> None:
        """A message before them may be lost, and with it nothing that a probe would not find."""
        progress = replicating()
        progress.sent(2, 12, 10, now=0.0)
        progress.refused(2, hint=10, snapshot_index=20)
        self.assertIs(progress.state, PROBE)

    def test_a_late_acknowledgement(self) -> None:
        """hazard R3: it counts, and the snapshot is on its way all the same."""
        progress = self.refused()
        progress.accepted(1, 22)
        self.assertEqual(numbers(progress), (SNAPSHOT, 22, 23))


class OwedTests(SynchronousTestCase):
    """hazard R21: answers that do not come."""

    def test_due(self) -> None:
        """It is asked again when nothing has left for so long, under the number of the last request; then anew."""
        progress = replicating()
        progress.sent(2, 11, 10, now=1.0)
        progress.sent(3, 12, 10, now=1.4)
        self.assertEqual(progress.owed, 3)
        self.assertFalse(progress.is_due(1.8, patience=0.5))
        self.assertTrue(progress.is_due(1.9, patience=0.5))
        progress.asked(1.9)
        self.assertFalse(progress.is_due(2.3, patience=0.5))
        self.assertTrue(progress.is_due(2.4, patience=0.5))

    def test_nothing_under_way(self) -> None:
        """A follower that has everything owes no answer."""
        self.assertIsNone(replicating().owed)
        self.assertFalse(replicating().is_due(100.0, patience=0.5))

    def test_lost_what_it_had_acknowledged(self) -> None:
        """hazard R23: it refuses what it had acknowledged before it was asked. Nothing else is sent meanwhile."""
        progress = replicating()
        progress.probe()
        progress.sent(2, 10, 0, now=0.0)
        self.assertTrue(progress.refused(2, hint=3, snapshot_index=0))
        self.assertEqual(numbers(progress), (ProgressState.LOST, 10, 11))
        self.assertEqual(progress.counted_index, 0)
        self.assertFalse(progress.may_send(PLENTY, PLENTY))
        self.assertFalse(progress.refused(2, hint=3, snapshot_index=0), "a copy of the same refusal")

    def test_acknowledged_anew(self) -> None:
        """hazard R23: it counts again when it has acknowledged all that it had, in answer to a request made since."""
        progress = replicating()
        progress.probe()
        progress.sent(2, 10, 0, now=0.0)
        progress.refused(2, hint=3, snapshot_index=0)
        for request_id, match_index in [(2, 10), (1, 12)]:  # from before the loss, and late
            progress.accepted(request_id, match_index)
            self.assertEqual(progress.counted_index, 0)
        progress.probe()
        progress.sent(3, 12, 0, now=0.0)
        progress.accepted(3, 12)
        self.assertEqual((progress.counted_index, *numbers(progress)), (12, REPLICATE, 12, 13))

    def test_acknowledged_meanwhile(self) -> None:
        """hazards R8, R19: a refusal may be older than an acknowledgement that has overtaken it; then nothing is lost.
        The next probe will tell."""
        progress = probing()
        progress.sent(2, 10, 0, now=0.0)
        progress.accepted(1, 9)
        progress.refused(2, hint=5, snapshot_index=0)
        self.assertEqual((progress.has_lost_data, *numbers(progress)), (False, PROBE, 9, 10))
        self.assertTrue(progress.may_send(1, 1))

    def test_probing_has_an_end(self) -> None:
        """hazard R23: whatever the hints say, each probe that is refused stands lower than the one before."""
        progress, request_id = probing(), 0
        while progress.state is PROBE:
            request_id += 1
            progress.sent(request_id, progress.next_index - 1, 0, now=0.0)
            progress.refused(request_id, hint=10, snapshot_index=0)
        self.assertEqual(request_id, 11)


class AnyOrderTests(SynchronousTestCase):
    """Whatever comes, in whatever order."""

    @settings(derandomize=True, database=None, deadline=None, max_examples=300)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["send", "send", "accept", "refuse", "probe", "ask", "probe at"]),
                st.integers(0, 8),
                st.integers(0, 12),
            )
        )
    )
    def test_indexes_and_accounts(self, steps: list[tuple[str, int, int]]) -> None:
        """hazards R3, R8, R15: match_index never goes back, next_index stays above it, and when all is answered
        nothing is left in flight."""
        progress, last_id, size = probing(), 0, 5
        for name, number, index in steps:
            before = progress.match_index
            match name:
                case "send" if progress.may_send(3, 3 * size):
                    last_id += 1
                    entries = number if progress.state is REPLICATE else 0
                    progress.sent(last_id, progress.next_index - 1 + entries, size * entries, now=0.0)
                case "accept":
                    progress.accepted(last_id - number, min(index, progress.next_index - 1))
                case "refuse":
                    progress.refused(last_id - number, index, snapshot_index=number)
                case "probe":
                    progress.probe()
                case "ask":
                    progress.asked(0.0)
                case "probe at":
                    progress.probe_at(index)
            self.assertGreater(progress.next_index, progress.match_index)
            self.assertGreaterEqual(progress.match_index, before)
        progress.accepted(last_id, progress.next_index - 1)
        if progress.state is not REPLICATE:
            progress.probe()
            progress.sent(last_id + 1, progress.next_index - 1, 0, now=0.0)
            progress.accepted(last_id + 1, progress.next_index - 1)
        self.assertIs(progress.state, REPLICATE)
        self.assertTrue(progress.may_send(1, 1))
