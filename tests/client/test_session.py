"""What is sent again, to whom, when, and what the end is. Every rule of `txraft.client.session`."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.client.scripted import (
    CUT_OFF,
    IN_DOUBT,
    NO_ANSWER,
    NO_CONNECTION,
    NO_LEADER,
    SET,
    A,
    Answer,
    B,
    C,
    Script,
    ScriptedCluster,
    run,
)
from txraft.addresses import Address
from txraft.client import requests
from txraft.client.http import OTHER_PORT, HttpAnswer
from txraft.client.session import LONGEST_PAUSE, all_keys
from txraft.errors import (
    BadRequest,
    ConditionFailed,
    NotApplied,
    OutcomeUnknown,
    SettingsError,
    TooLarge,
    Unreachable,
)
from txraft.kv.contents import KeyInfo, Listing

VALUE = HttpAnswer(200, {"etag": '"7"'}, b"v")
TOO_LARGE = HttpAnswer(413, {}, b"val has 9 bytes; the limit, value_size, is 8")


class SessionTestCase(SynchronousTestCase):
    def cluster(self, **scripts: Script) -> ScriptedCluster:
        """By the names of its nodes."""
        return ScriptedCluster({Address(name, 1): script for name, script in scripts.items()})

    def set(self, cluster: ScriptedCluster, *given: Address, key: str | None = None, **options: Any) -> None:
        """A change."""
        run(cluster.session(*(given or (A, B, C)), **options).perform(requests.set("k", "v"), key=key))

    def get(self, cluster: ScriptedCluster, *given: Address, **options: Any) -> requests.Value | None:
        """A read."""
        return run(cluster.session(*(given or (A, B, C)), **options).perform(requests.get("k")))

    def transfer(self, cluster: ScriptedCluster) -> None:
        """What is sent once."""
        run(cluster.session(A, B, C).perform(requests.transfer(2)))


class RetryTests(SessionTestCase):
    def test_one_answer_is_enough(self) -> None:
        """The first node is asked, once."""
        cluster = self.cluster(a=SET, b=SET)
        self.set(cluster)
        self.assertEqual((cluster.asked, cluster.pauses), ([A], []))

    def test_no_connection(self) -> None:
        """The next one is asked at once."""
        cluster = self.cluster(c=SET)
        self.set(cluster)
        self.assertEqual((cluster.asked, cluster.pauses), ([A, B, C], []))

    def test_another_port(self) -> None:
        """That nodes are asked at the wrong port is said only where no HTTP has come, and no connection was refused."""
        for scripts, has_hint in (
            ({"a": CUT_OFF}, True),
            ({"a": [CUT_OFF, NO_LEADER, CUT_OFF]}, False),
            ({"a": [CUT_OFF, NO_CONNECTION]}, False),
            ({"a": [CUT_OFF, HttpAnswer(400, {}, b"no")]}, False),
            ({"a": NO_ANSWER}, False),
        ):
            error = self.assertRaises(OutcomeUnknown, self.set, self.cluster(**scripts), A, timeout=1.0)
            self.assertEqual(OTHER_PORT in str(error), has_hint, str(error))

    def test_not_applied(self) -> None:
        """What a node promises not to have done is sent to the next one, after a pause."""
        cluster = self.cluster(a=NO_LEADER, b=SET)
        self.set(cluster)
        self.assertEqual((cluster.asked, len(cluster.pauses)), ([A, B], 1))

    def test_unknown(self) -> None:
        """A change of which nobody knows what became of it is sent again, with the same Idempotency-Key (hazard C5,
        C8)."""
        for first in (IN_DOUBT, NO_ANSWER, HttpAnswer(502, {}, b"a proxy's"), HttpAnswer(500, {}, b"")):
            cluster = self.cluster(a=first, b=SET)
            self.set(cluster)
            self.assertEqual(cluster.asked, [A, B])
            first_key, second_key = (attempt.key for attempt in cluster.attempts)
            self.assertRegex(
                first_key or "", r"\A[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z"
            )
            self.assertEqual(second_key, first_key)

    def test_every_change_has_a_key_of_its_own(self) -> None:
        """So none is taken for another one (hazard C5)."""
        cluster = self.cluster(a=SET)
        session = cluster.session(A)
        for _ in range(3):
            run(session.perform(requests.set("k", "v")))
        self.assertEqual(len({attempt.key for attempt in cluster.attempts}), 3)

    def test_the_key_of_the_caller(self) -> None:
        """It is sent as it is; one that cannot be sent is refused before anything is."""
        cluster = self.cluster(a=SET)
        self.set(cluster, key="mine")
        self.assertEqual([attempt.key for attempt in cluster.attempts], ["mine"])
        for key in ("", "a\r\nX: y", "ä", "x" * 256, " a"):
            self.assertRaises(BadRequest, self.set, cluster, key=key)
        self.assertEqual(len(cluster.attempts), 1)

    def test_reads(self) -> None:
        """They are sent again whatever happened, and carry no key."""
        for first in (IN_DOUBT, NO_ANSWER, NO_LEADER, NO_CONNECTION, HttpAnswer(500, {}, b"")):
            cluster = self.cluster(a=first, b=VALUE)
            self.assertEqual(self.get(cluster), requests.Value(b"v", 7))
            self.assertEqual([attempt.key for attempt in cluster.attempts], [None, None])

    def test_another_web_server(self) -> None:
        """Its pages are no answers: nothing is done, and no key missing, because of them."""
        for status in (200, 204, 302, 404):
            page = HttpAnswer(status, {}, b"<html>")
            cluster = self.cluster(a=page, b=VALUE)
            self.assertEqual(self.get(cluster), requests.Value(b"v", 7))
            cluster = self.cluster(a=page, b=SET)
            self.set(cluster)
            self.assertEqual(cluster.asked, [A, B])
            cluster = self.cluster(a=page, b=HttpAnswer(200, {}, b"deleted value"))
            self.assertIs(run(cluster.session(A, B).perform(requests.delete("k"))), True)

    def test_the_request_is_wrong(self) -> None:
        """Nobody else is asked, and the line is the node's."""
        for answer, kind in ((TOO_LARGE, TooLarge), (HttpAnswer(400, {}, b"the key is empty"), BadRequest)):
            cluster = self.cluster(a=answer, b=SET)
            error = self.assertRaises(kind, self.set, cluster)
            self.assertEqual((str(error), cluster.asked), (answer.body.decode(), [A]))

    def test_a_condition(self) -> None:
        """It is an answer, also to a second attempt: the first one's, by its key."""
        refused = HttpAnswer(412, {}, b"the key is not as wanted")
        for script in ({"a": refused}, {"a": NO_ANSWER, "b": refused}):
            self.assertRaises(ConditionFailed, self.set, self.cluster(**script))

    def test_a_request_that_came_too_slowly(self) -> None:
        """A node that has not got all of it has done nothing."""
        self.set(self.cluster(a=[HttpAnswer(408, {}, b"it took longer"), SET]), A)


class PauseTests(SessionTestCase):
    def test_after_a_round(self) -> None:
        """Each node is asked before one is asked again; pauses grow, and are never all the same (jitter)."""
        cluster = self.cluster()
        self.assertRaises(Unreachable, self.set, cluster)
        self.assertEqual([set(cluster.asked[n : n + 3]) for n in range(0, 9, 3)], [{A, B, C}] * 3)
        self.assertEqual(len(cluster.pauses), len(cluster.asked) // 3 - 1)
        for number, pause in enumerate(cluster.pauses):
            longest = min(LONGEST_PAUSE, 0.05 * 2**number)
            self.assertTrue(longest / 2 <= pause <= longest, (number, pause))
        late = set(cluster.pauses[6:])
        self.assertGreater(len(late), 3)

    def test_whoever_failed_is_asked_last(self) -> None:
        """And the other way round: the next request goes to the one that did it. Until that is long ago."""
        cluster = self.cluster(a=[NO_LEADER, SET], b=SET)
        session = cluster.session(A, B)
        for _ in range(2):
            run(session.perform(requests.set("k", "v")))
        self.assertEqual(cluster.asked, [A, B, B])
        cluster.time += 5
        run(session.perform(requests.set("k", "v")))
        self.assertEqual(cluster.asked[3:], [A])


class LimitTests(SessionTestCase):
    def test_nothing_was_done(self) -> None:
        """The end is NotApplied, with the last reason, within the time limit and not long before it."""
        for script, kind in ((NO_CONNECTION, Unreachable), (NO_LEADER, NotApplied)):
            cluster = self.cluster(a=script, b=script, c=script)
            error = self.assertRaises(NotApplied, self.set, cluster, timeout=4.0)
            self.assertIs(type(error), kind)
            self.assertIn("/set was not done, and may be sent again: ", str(error))
            self.assertIn(str(NO_CONNECTION) if script is NO_CONNECTION else "no leader was found", str(error))
            self.assertTrue(3.0 < cluster.attempts[-1].at < 4.0, cluster.attempts[-1])

    def test_it_may_have_been_done(self) -> None:
        """No later refusal takes back that an attempt may take effect (hazard C5). The line has the key."""
        later: tuple[Answer, ...] = (NO_LEADER, NO_CONNECTION, TOO_LARGE, HttpAnswer(403, {}, b"not under this name"))
        for second in later:
            cluster = self.cluster(a=[NO_ANSWER, second], b=second, c=second)
            error = self.assertRaises(OutcomeUnknown, self.set, cluster, key="mine")
            self.assertIn("/set may have been done, or may yet be: a:1: no answer; and at last ", str(error))
            self.assertIn("with the Idempotency-Key mine, it is done once", str(error))

    def test_a_read_is_never_in_doubt(self) -> None:
        """It has no effect."""
        error = self.assertRaises(NotApplied, self.get, self.cluster(a=NO_ANSWER, b=IN_DOUBT))
        self.assertIn("/get was not done, and may be sent again", str(error))

    def test_attempts_have_a_limit(self) -> None:
        """A node that does not answer leaves time for others. Where there is no other, it has all of it."""
        cluster = self.cluster(a=NO_ANSWER, b=SET)
        self.set(cluster, timeout=10.0, attempt_timeout=3.0)
        self.assertEqual([(attempt.at, attempt.timeout) for attempt in cluster.attempts], [(0, 3.0), (3.0, 3.0)])
        cluster = self.cluster(a=NO_ANSWER)
        self.assertRaises(OutcomeUnknown, self.set, cluster, A, timeout=10.0, attempt_timeout=3.0)
        self.assertEqual([attempt.timeout for attempt in cluster.attempts], [10.0])

    def test_no_attempt_outlasts_the_whole(self) -> None:
        """The last one has what is left."""
        cluster = self.cluster(a=NO_ANSWER, b=NO_ANSWER, c=NO_ANSWER)
        self.assertRaises(OutcomeUnknown, self.set, cluster, timeout=10.0, attempt_timeout=7.0)
        self.assertEqual([attempt.timeout for attempt in cluster.attempts], [7.0, 3.0])

    def test_an_attempt_that_hardly_has_time(self) -> None:
        """It is not made: it would bring doubt where there is none."""
        cluster = self.cluster(a=NO_LEADER)
        cluster.takes = 0.85
        self.assertRaises(NotApplied, self.set, cluster, A, timeout=0.99)
        self.assertEqual(len(cluster.attempts), 1)
        cluster = self.cluster(a=NO_LEADER)
        cluster.takes = 5.0  # which nodes wait for a leader
        self.assertRaises(NotApplied, self.set, cluster, A, timeout=10.0)
        self.assertRaises(NotApplied, self.get, cluster, A, timeout=10.0)
        self.assertEqual([attempt.path for attempt in cluster.attempts], ["/set", "/get", "/get"])
        cluster = self.cluster(b=SET)
        cluster.takes = 0.95  # also to say that there is no connection
        self.assertRaises(Unreachable, self.set, cluster, A, B, timeout=1.0)
        self.assertEqual(cluster.asked, [A])
        self.set(self.cluster(a=SET), timeout=0.01)

    def test_no_time(self) -> None:
        """A limit is above 0."""
        self.assertRaises(SettingsError, self.set, self.cluster(a=SET), timeout=0)


class TransferTests(SessionTestCase):
    """What takes no Idempotency-Key is sent once (hazard C8)."""

    def test_done(self) -> None:
        """Where no connection is made, nothing was sent, and the next node is asked."""
        cluster = self.cluster(b=HttpAnswer(200, {}, b"transferred leadership"))
        self.transfer(cluster)
        self.assertEqual((cluster.asked, cluster.attempts[1].key), ([A, B], None))

    def test_sent_once(self) -> None:
        """Whatever comes of it is the end."""
        for answer, kind in ((NO_ANSWER, OutcomeUnknown), (IN_DOUBT, OutcomeUnknown), (NO_LEADER, NotApplied)):
            cluster = self.cluster(a=answer, b=HttpAnswer(200, {}, b"transferred leadership"))
            error = self.assertRaises(kind, self.transfer, cluster)
            self.assertEqual(cluster.asked, [A])
            self.assertNotIn("Idempotency-Key", str(error))


class StaleTests(SessionTestCase):
    def test_which_node(self) -> None:
        """A stale read goes to the nodes as they were given, wherever the leader is."""
        cluster = self.cluster(a=VALUE, b=VALUE)
        session = cluster.session(A, B)
        session.nodes.leader = B
        run(session.perform(requests.get("k", "stale")))
        run(session.perform(requests.get("k")))
        self.assertEqual(cluster.asked, [A, B])
        self.assertEqual(cluster.attempts[0].request.target, "/get?key=k&consistency=stale")


class AllKeysTests(SynchronousTestCase):
    def test_pages(self) -> None:
        """Page by page, each behind the last key of the one before, and no more than are wanted."""
        names = [b"%04d" % number for number in range(2500)]
        asked: list[tuple[bytes | None, int]] = []

        async def page(after: bytes | None, most: int) -> Listing:
            asked.append((after, most))
            behind = [name for name in names if after is None or name > after]
            keys = tuple(KeyInfo(name, 1, 1, 1) for name in behind[:most])
            return Listing(1, len(names), len(keys) < len(behind), keys)

        async def collect(limit: int | None) -> list[bytes]:
            return [info.key async for info in all_keys(page, limit)]

        self.assertEqual(run(collect(None)), names)
        self.assertEqual(asked, [(None, 1000), (b"0999", 1000), (b"1999", 1000)])
        asked.clear()
        self.assertEqual(run(collect(1001)), names[:1001])
        self.assertEqual(asked, [(None, 1000), (b"0999", 1)])
        asked.clear()
        self.assertEqual((run(collect(0)), asked), ([], []))
