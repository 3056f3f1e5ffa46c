"""`/batch`, as the outside sees it, and what its parser takes."""

import contextlib
import json
from base64 import b64decode
from functools import partial

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.defer import fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.web.test_work import work
from tests.web.wire import Response, Wire
from txraft.errors import BadRequest, OutcomeUnknown, TooLarge
from txraft.kv import Batch, CompareAndSet, Delete, Get, Result, Set
from txraft.kv.commands import Refused, encode_batch_result
from txraft.settings import SizeLimits
from txraft.web.batches import MAX_READ, of_batch_result, parse_batch
from txraft.web.turns import AT_ONCE, LONG

LIMITS = SizeLimits(key_size=10, value_size=20, batch_size=1000, batch_operations=5)


class BatchTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.wire = Wire(limits=LIMITS)

    def post(self, body: bytes, content_type: str = "application/json") -> Response:
        return self.wire.post("/batch", body, content_type)

    def batch(self, *operations: object) -> Response:
        """Send some, as a program does."""
        return self.post(json.dumps(operations).encode())

    def assert_refused(self, response: Response, code: int, line: str) -> None:
        """With a line of text, and before it has come to the node."""
        self.assertEqual(response.code, code, response)
        self.assertNotIn(b"\n", response.body)
        self.assertRegex(response.body.decode(), line)
        self.assertEqual(self.wire.replica.proposals, 0)


class AnswerTests(BatchTestCase):
    def test_results(self) -> None:
        """One of each, in their order, as one entry."""
        response = self.batch(
            {"get": {"key": "a"}},
            {"set": {"key": "a", "val": "ä"}},
            {"cas": {"key": "a", "old": "ä", "val": "2"}},
            {"get": {"key": "a"}},
            {"delete": {"key": "b"}},
        )
        self.assertEqual((response.code, response.headers["content-type"]), (200, "application/json"))
        self.assertEqual(response.headers["cache-control"], "no-store")
        self.assertEqual(json.loads(response.body), [None, True, True, "2", False])
        self.assertEqual(self.wire.replica.proposals, 1)
        self.assertEqual(self.wire.site._answers.sizes, {})
        self.assertEqual(self.wire.get("/get?key=a").body, b"2")

    def test_bytes(self) -> None:
        """What is not UTF-8 goes in and comes out as base64; what is, as text, however it came, unless it has control
        characters."""
        raw = {"base64": "/wA="}
        response = self.batch({"set": {"key": raw, "val": raw}}, {"get": {"key": raw}})
        self.assertEqual(json.loads(response.body), [True, raw])
        self.assertEqual(self.wire.get("/get?key=%FF%00").body, b"\xff\0")
        for text in ("µ", "", '\t\r\n\x7f\x80"\\'):
            response = self.batch({"set": {"key": {"base64": "aw=="}, "val": text}}, {"get": {"key": "k"}})
            self.assertEqual(json.loads(response.body), [True, text])
        response = self.batch({"set": {"key": "k", "val": "\x00µ"}}, {"get": {"key": "k"}})
        self.assertEqual(json.loads(response.body), [True, {"base64": "AMK1"}])

    def test_length(self) -> None:
        """JSON is at most twice as long as the values that it says, and a few bytes more for each."""
        for byte in range(256):
            value = b"%c" % byte * 1000
            answer = of_batch_result(encode_batch_result([value]), Batch((Get(b"k"),), 1000)).make()
            self.assertLess(len(answer.body), 2 * len(value) + 50, byte)
            (shown,) = json.loads(answer.body)
            self.assertEqual(b64decode(shown["base64"]) if isinstance(shown, dict) else shown.encode(), value)

    def test_cost(self) -> None:
        """An answer takes long if much has been read, or by many operations."""
        for results, long in (([True] * 100, False), ([b"\xff"] * 1000, True), ([b"v" * 10_000], True)):
            later = of_batch_result(encode_batch_result(results), Batch((Get(b"k"),) * len(results), 1000))
            self.assertEqual(later.cost > LONG, long)

    def test_nothing_done(self) -> None:
        """A cas that does not compare is a 409 that names it, and nothing has changed."""
        self.batch({"set": {"key": "a", "val": "1"}})
        for key, why in (("a", "the value is not `old`"), ("b", "there is no such key")):
            response = self.batch({"set": {"key": "a", "val": "2"}}, {"cas": {"key": key, "old": "1", "val": "3"}})
            self.assertEqual(response.code, 409)
            self.assertEqual(response.body.decode(), f"[1].cas: {why}; nothing was done")
        self.assertEqual(self.wire.get("/get?key=a").body, b"1")

    def test_too_much_to_answer(self) -> None:
        """The values that are read are bounded, all together."""
        self.wire = Wire()
        self.batch({"set": {"key": "a", "val": "v" * (MAX_READ // 2 + 1)}})
        self.assertEqual(self.batch({"get": {"key": "a"}}).code, 200)
        response = self.batch({"get": {"key": "a"}}, {"get": {"key": "a"}})
        self.assertEqual(response.code, 413)
        self.assertRegex(response.body.decode(), r"^\[1\].get: .*more than 65536 bytes; nothing was done$")

    def test_not_understood(self) -> None:
        """A leader of another version may have done anything (hazard C5)."""
        for answer in (Result.INVALID.value, b"\xfe", encode_batch_result(Refused(0, Result.INVALID))):
            self.patch(self.wire.replica, "propose", lambda _, answer=answer: succeed(answer))
            response = self.batch({"get": {"key": "a"}})
            self.assertEqual((response.code, response.headers["x-txraft-outcome"]), (503, "unknown"))

    def test_undecided(self) -> None:
        """As of every change."""
        self.patch(self.wire.replica, "propose", lambda _: fail(OutcomeUnknown("who knows")))
        response = self.batch({"get": {"key": "a"}})
        self.assertEqual((response.code, response.headers["x-txraft-outcome"]), (503, "unknown"))


class RefusalTests(BatchTestCase):
    def test_wrong_operations(self) -> None:
        """One that is wrong refuses all, in a line that says which it is and how it is right."""
        right = {"set": {"key": "a", "val": "1"}}
        for wrong, line in (
            (7, r"^\[1\] is not one operation"),
            ({"set": {"key": "a", "val": 1}}, r"^\[1\].set.val is not a text in quotes"),
            ({"get": {"key": float("nan")}}, r"^\[1\].get.key is not a text in quotes"),
            ("set", r"^\[1\] is not one operation, .*as in \[{\"set\": "),
            ({}, r"^\[1\] is not one operation"),
            ({"set": {}, "get": {}}, r"^\[1\] is not one operation"),
            ({"put": {}}, r"^\[1\]: there is no operation 'put'; there are set, delete, cas, get$"),
            ({"set": []}, r"^\[1\].set is not an object; set takes key and val$"),
            ({"set": {"key": "a"}}, r"^\[1\].set: val is missing; set takes key and val$"),
            ({"get": {"key": "a", "val": "b"}}, r"^\[1\].get has 'val'; get takes key$"),
            ({"cas": {"key": "a", "val": ""}}, r"^\[1\].cas: old is missing; cas takes key, old and val$"),
            ({"delete": {"key": None}}, r"^\[1\].delete.key is not a text in quotes, or {"),
            ({"delete": {"key": {"base64": "_"}}}, r"^\[1\].delete.key is not base64: "),
            ({"delete": {"key": {"base64": "aw==", "x": ""}}}, r"^\[1\].delete.key is not a text"),
            ({"delete": {"key": "\ud800"}}, r"^\[1\].delete.key has half of a surrogate pair"),
            ({"delete": {"key": ""}}, r"^\[1\].delete.key is empty$"),
        ):
            self.assert_refused(self.batch(right, wrong), 400, line)

    def test_not_json(self) -> None:
        for body, line in (
            (b"[", r"^the body is not JSON: Expecting value: line 1 .*; send \["),
            (b"", r"^the body is not JSON"),
            (b"[]", r"^the list has no operation; send \["),
            (b"{}", r"^the body is not a list of operations"),
            (b"[\xff]", r"^the body is not UTF-8"),
            (b"[" * 99, r"^the body is not JSON"),
            (b"9" * 100, r"^the body is not a list of operations; send \["),
            (b'[{"get": {"key": "a", "key": "b"}}]', r"^the name 'key' is given twice in an object$"),
        ):
            self.assert_refused(self.post(body), 400, line)

    def test_not_sent_as_json(self) -> None:
        """Which curl does unless it is told; and pages of other sites cannot send it unasked (hazard N7)."""
        for content_type in ("application/x-www-form-urlencoded", "text/plain", "", "application/json-seq"):
            said = f"is of type '{content_type}'" if content_type else "has no Content-Type"
            line = f"^the body {said}; send JSON, with Content-Type: application/json"
            self.assert_refused(self.post(b"[]", content_type), 400, line)
        self.assertEqual(self.post(b'[{"get": {"key": "a"}}]', "Application/JSON; charset=utf-8").code, 200)

    def test_waits_for_its_turn(self) -> None:
        """Small operations take longer to read than a form of as many bytes, so a batch that is shorter may wait."""
        self.wire = Wire()
        self.wire.site.long_jobs.run(AT_ONCE, lambda: None)
        body = b'[{"get": {"key": "a"}}%b]' % (b" " * (LONG // 6))
        head = b"POST /batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self.wire.protocol.dataReceived(head % len(body) + body)
        self.assertEqual(self.wire.replica.proposals, 0)
        self.wire.clock.advance(0)
        self.wire.clock.advance(0)
        self.assertEqual(self.wire.replica.proposals, 1)

    def test_elsewhere(self) -> None:
        self.assert_refused(self.wire.post("/batch?key=a", b"[]", "application/json"), 400, "takes no parameters")
        self.assertEqual(self.wire.get("/batch").code, 405)
        response = self.wire.ask("POST", "/batch", b"[]", Content_Type="application/json", Origin="http://elsewhere")
        self.assert_refused(response, 403, "elsewhere")

    def test_limits(self) -> None:
        """Keys and values have the limits that they have anywhere, and a batch those of number and bytes."""
        get = {"get": {"key": "a"}}
        self.assert_refused(
            self.batch(*[get] * 6), 413, "^the batch has 6 operations; the limit, batch_operations, is 5$"
        )
        self.assert_refused(self.post(b" " * 1001), 413, "^the batch has 1001 bytes; the limit, batch_size, is 1000$")
        long = {"set": {"key": "a", "val": "v" * 21}}
        self.assert_refused(self.batch(long), 413, r"^\[0\].set.val has 21 bytes; the limit, value_size, is 20$")
        long = {"get": {"key": "k" * 11}}
        self.assert_refused(self.batch(long), 413, r"^\[0\].get.key has 11 bytes; the limit, key_size, is 10$")
        raw = {"base64": "/w=="}
        self.assertEqual(self.batch(*[{"cas": {"key": raw, "old": raw, "val": raw}}] * 5).code, 409)
        self.assertEqual(self.wire.replica.proposals, 1)


class ParserTests(SynchronousTestCase):
    def test_operations(self) -> None:
        body = b"""[{"set": {"val": "v", "key": "k"}}, {"cas": {"key": "k", "val": "v", "old": "o"}},
            {"delete": {"key": "k"}}, {"get": {"key": "k"}}]"""
        wanted = (Set(b"k", b"v"), CompareAndSet(b"k", b"o", b"v"), Delete(b"k"), Get(b"k"))
        self.assertEqual(parse_batch(body, LIMITS), Batch(wanted, max_answer=MAX_READ))

    @given(st.recursive(st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
    @example([{"set": {"key": "\ud800", "val": {"base64": "\ud800"}}}])
    @example([{"\ud800": {}}])
    @example([{"set": {"\ud800": ""}}])
    def test_anything_may_arrive(self, given: object) -> None:
        """It is a batch or a BadRequest."""
        with contextlib.suppress(BadRequest):
            parse_batch(json.dumps(given).encode(), LIMITS)

    def test_deep(self) -> None:
        """What nests deeply is refused, in lists and in objects (hazard N1)."""
        limits = SizeLimits(batch_operations=10_000)
        for opening in (b"[", b'{"a":'):
            with self.assertRaisesRegex(BadRequest, "^the body nests too deeply"):
                parse_batch(opening * 100_000, limits)

    def test_work(self) -> None:
        """However much is sent of what, the work is that of its bytes; and it ends at the limit (hazard N1)."""

        def parse(body: bytes) -> None:
            with contextlib.suppress(BadRequest):
                parse_batch(body, SizeLimits(batch_operations=1000))

        for part in (
            b"{},",
            b"[],",
            b'{"get":{"key":"a"}},',
            b'"",',
            b'"\\ud83d\\ude00",',
            b'{"a":{"base64":"aaaa"}},',
            b"[[[[]]]],",
            b'{"b":"","a":"","a":""},',
        ):
            few, many = (work(partial(parse, b"[" + part * count + b'""]')) for count in (200, 400))
            self.assertLess(many[0], 2.2 * few[0] + 1000, part)
            self.assertLess(many[1], 2.2 * few[1] + 1000, part)
            within, beyond = (work(partial(parse, b"[" + part * count + b'""]')) for count in (400, 40_000))
            self.assertLess(beyond[0], within[0] + 1000, part)

    def test_most_that_operations_take(self) -> None:
        """The bounds on what stands in a batch leave room for any operations, however they are written."""
        raw = {"base64": "aw=="}
        batch = [{"cas": {"key": raw, "old": raw, "val": raw}}] * 5
        wanted = Batch((CompareAndSet(b"k", b"k", b"k"),) * 5, max_answer=MAX_READ)
        self.assertEqual(parse_batch(json.dumps(batch, indent=1).encode(), LIMITS), wanted)
        for text in (b'"\\\\"', b'"\\"[{,:"', b'"[[[[[[[[[[[[[[[["'):
            self.assertEqual(len(parse_batch(b'[{"delete":{"key":%b}}]' % text, SizeLimits()).operations), 1)
        with self.assertRaisesRegex(TooLarge, "more in it than 5 operations take; the limit, batch_operations, is 5$"):
            parse_batch(json.dumps([*batch, {"get": {"key": "k"}}]).encode(), LIMITS)
