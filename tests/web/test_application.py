"""The API as the outside sees it: statuses, texts and headers."""

import json

from attrs import asdict
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web import http

from tests.web.wire import STATUS, Response, Wire
from txraft.errors import CommandFailed, NoSuchVoter, NotApplied, NotLeader, OutcomeUnknown, Overloaded, TransferFailed
from txraft.kv import Result
from txraft.settings import SizeLimits
from txraft.version import version

CHANGES = ("/set?key=k&val=v", "/delete?key=k", "/cas?key=k&old=o&val=v", "/transfer?to=1")
"""By POST; all but the last by GET too."""


class ApiTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.wire = Wire()
        self.replica = self.wire.replica

    def check(self, response: Response, code: int, body: str = "^") -> None:
        """What every answer has, and this one's status and text (or a regular expression of it)."""
        self.assertEqual(response.code, code, response)
        self.assertEqual(response.headers["cache-control"], "no-store")
        self.assertEqual(response.headers["content-type"], "text/plain; charset=utf-8")
        self.assertRegex(response.headers["date"], "GMT$")
        if code != 200:
            self.assertNotIn(b"\n", response.body)
        self.assertRegex(response.body.decode("utf-8", "replace"), body)


class KeyValueTests(ApiTestCase):
    def test_set_get_delete(self) -> None:
        """The simple life of a key, with the exact texts."""
        self.check(self.wire.get("/get?key=k"), 404, "^there is no such key$")
        self.check(self.wire.get("/set?key=k&val=v"), 200, "^set value$")
        self.check(self.wire.get("/get?key=k"), 200, "^v$")
        self.check(self.wire.get("/delete?key=k"), 200, "^deleted value$")
        self.check(self.wire.get("/delete?key=k"), 404, "^there is no such key$")
        self.check(self.wire.get("/get?key=k"), 404)

    def test_compare_and_set(self) -> None:
        """200 where the value was the old one, 409 where it was not, or where there was none."""
        self.check(self.wire.get("/cas?key=k&old=&val=w"), 409, "no such key")
        self.wire.get("/set?key=k&val=v")
        self.check(self.wire.get("/cas?key=k&old=x&val=w"), 409, "^the value is not `old`$")
        self.check(self.wire.get("/cas?key=k&old=v&val=w"), 200, "^set value$")
        self.check(self.wire.get("/get?key=k"), 200, "^w$")

    def test_bytes(self) -> None:
        """Keys and values are bytes: what is not UTF-8, empty, or ends in a newline comes back as it is."""
        for value in (b"\xff\x00\n", b"", "µ".encode(), b"a\r\n\r\nb"):
            escaped = "".join(f"%{byte:02X}" for byte in value)
            self.check(self.wire.get(f"/set?key=%FF%00&val={escaped}"), 200)
            self.assertEqual(self.wire.get("/get?key=%FF%00").body, value)

    def test_types(self) -> None:
        """A value is text where it is UTF-8; a browser is told never to guess."""
        text = "text/plain; charset=utf-8"
        for value, kind in (("%FF", "application/octet-stream"), ("%C2%B5", text), ("%00", text), ("", text)):
            self.wire.get(f"/set?key=k&val={value}")
            headers = self.wire.get("/get?key=k").headers
            self.assertEqual((headers["content-type"], headers["x-content-type-options"]), (kind, "nosniff"))

    def test_transfer(self) -> None:
        """Leadership goes to the node that is named; what is no id, or no voter's, is refused with a line."""
        self.check(self.wire.post("/transfer", b"to=2"), 200, "^transferred leadership$")
        self.check(self.wire.post("/transfer", b"to=two"), 400, "to is the id of a node")
        self.assertEqual(self.replica.transfers, [2])
        self.replica.failure = NoSuchVoter("node 9 cannot lead")
        self.check(self.wire.post("/transfer", b"to=9"), 400, "^node 9 cannot lead$")
        self.replica.failure = TransferFailed("node 2 did not take over")
        response = self.wire.post("/transfer", b"to=2")
        self.check(response, 503, "did not take over")
        self.assertEqual(response.headers["x-txraft-outcome"], "unknown")

    def test_post(self) -> None:
        """Names come as form fields, in the query string, or some here and some there."""
        self.check(self.wire.post("/set", b"key=k&val=a+b"), 200)
        self.check(self.wire.post("/get?key=k", b""), 200, "^a b$")
        self.check(self.wire.post("/set?key=k", b"val=c"), 200)
        form = b'--X\r\nContent-Disposition: form-data; name="key"\r\n\r\nk\r\n--X--\r\n'
        self.check(self.wire.post("/get", form, "multipart/form-data; boundary=X"), 200, "^c$")

    def test_get_ignores_a_body(self) -> None:
        """Only a POST has a form."""
        response = self.wire.ask("GET", "/set?key=k", b"val=v", Content_Type="application/x-www-form-urlencoded")
        self.check(response, 400, "val is missing")

    def test_date(self) -> None:
        """It is the time of the answer, to the second."""
        times = iter([b"1", b"2"])
        self.patch(http, "datetimeToString", lambda: next(times))
        dates = []
        for seconds in (0, 0.9, 0.2):
            self.wire.clock.advance(seconds)
            dates.append(self.wire.get("/status").headers["date"])
        self.assertEqual(dates, ["1", "1", "2"])

    def test_consistency(self) -> None:
        """A read waits for the barrier unless it asks for less."""
        self.wire.get("/set?key=k&val=v")
        self.check(self.wire.get("/get?key=k&consistency=linearizable"), 200, "^v$")
        self.assertEqual(self.replica.barriers, 1)
        self.replica.failure = NotLeader(None)
        self.check(self.wire.get("/get?key=k"), 503)
        self.check(self.wire.get("/get?key=k&consistency=stale"), 200, "^v$")
        self.assertEqual(self.replica.barriers, 2)
        self.check(self.wire.get("/get?key=k&consistency=eventual"), 400, "linearizable .* or stale, not 'eventual'")

    def test_read_after_the_barrier(self) -> None:
        """The value is the one at the time when the barrier is reached, not when the request came."""
        barrier: Deferred[None] = Deferred()
        self.patch(self.replica, "read_barrier", lambda: barrier)
        self.wire.request("GET", "/get?key=k")
        Wire(self.replica).get("/set?key=k&val=v")
        barrier.callback(None)
        self.check(self.wire.response(), 200, "^v$")

    def test_status(self) -> None:
        """JSON, with the names of the fields as they are, and null where the leader is not known."""
        response = self.wire.get("/status")
        self.assertEqual((response.code, response.headers["content-type"]), (200, "application/json"))
        self.assertEqual(response.headers["cache-control"], "no-store")
        expected = {"version": version(), "data_size": 12_345, **asdict(STATUS)}
        addresses = {"address": "localhost:8080", "kvaddr": "localhost:27004"}
        expected["members"] = [{"id": 0, **addresses, "voter": True, "learner": False, "joining": False}]
        expected["followers"] = list(expected["followers"])
        self.assertEqual(json.loads(response.body), expected)
        self.assertIsNone(json.loads(response.body)["leader_id"])

    def test_head(self) -> None:
        """HEAD reads as GET does, without the body; it changes nothing."""
        self.wire.get("/set?key=k&val=value")
        self.wire.request("HEAD", "/get?key=k")
        self.assertIn(b"Content-Length: 5\r\n", self.wire.transport.value())
        self.assertTrue(self.wire.transport.value().endswith(b"\r\n\r\n"))
        self.wire.transport.clear()
        self.wire.request("HEAD", "/delete?key=k")
        self.assertTrue(self.wire.transport.value().startswith(b"HTTP/1.1 405"))

    def test_pipelined(self) -> None:
        """Two requests in one packet are answered in order."""
        self.wire.send(b"GET /set?key=k&val=v HTTP/1.1\r\nHost: x\r\n\r\nGET /get?key=k HTTP/1.1\r\nHost: x\r\n\r\n")
        self.check(self.wire.response(), 200, "^set value$")
        self.check(self.wire.response(), 200, "^v$")


class RefusalTests(ApiTestCase):
    def tearDown(self) -> None:
        """Nothing that is refused reaches the replica."""
        self.assertEqual((self.replica.proposals, self.replica.barriers), (0, 0))

    def test_unquoted_ampersand(self) -> None:
        """`curl host/set?key=a&val=b` without quotes sends /set?key=a: the line says why."""
        line = "^val is missing; /set takes key and val. In a shell, put the URL in quotes: an & outside of them"
        self.check(self.wire.get("/set?key=a"), 400, line)
        self.check(self.wire.post("/set", b"key=a"), 400, "^val is missing; /set takes key and val$")

    def test_missing(self) -> None:
        """Every route says what it takes."""
        self.check(self.wire.get("/set"), 400, "^key is missing; /set takes key and val$")
        self.check(self.wire.get("/cas?key=a&old=b"), 400, "val is missing; /cas takes key, old and val")
        self.check(self.wire.get("/get"), 400, r"^key is missing; /get takes key and consistency \(optional\)$")
        self.check(self.wire.get("/status?x=1"), 400, "'x'; /status takes none")

    def test_wrong(self) -> None:
        """Unknown names, repeated names, an empty key, a broken escape."""
        self.check(self.wire.get("/set?key=a&value=b"), 400, "no parameter 'value'; /set takes key and val")
        self.check(self.wire.get("/get?key=a&key=a"), 400, "^'key' is given twice$")
        self.check(self.wire.post("/get?key=a", b"key=b"), 400, "^'key' is given twice$")
        self.check(self.wire.get("/get?key="), 400, "the key is empty")
        self.check(self.wire.get("/get?key=%"), 400, "%25")
        self.check(self.wire.get("/get?%0A%ff%1b[2J=a"), 400, r"'\\n\\\\xff\\x1b\[2J'")
        self.check(self.wire.post("/get", b"{}", "application/json"), 400, "application/json")

    def test_limits(self) -> None:
        """413 names the limit; a key and values of exactly their limits pass."""
        self.wire = Wire(self.replica, SizeLimits(key_size=3, value_size=5))
        self.check(self.wire.get("/get?key=abcd"), 413, "^key has 4 bytes; the limit, key_size, is 3$")
        self.check(self.wire.get("/set?key=a&val=123456"), 413, "val has 6 bytes; the limit, value_size, is 5")
        self.check(self.wire.get("/cas?key=a&old=123456&val="), 413, "old has 6 bytes")
        self.check(self.wire.get("/get?key=%61%62%63&consistency=stale"), 404)

    def test_paths_and_methods(self) -> None:
        """404 lists the paths, 405 the methods."""
        for path in ("/", "/x", "/set/", "//set", "/get/key", "/%FF", "/SET"):
            self.check(self.wire.get(path), 404, "/cas, /delete, /get, /keys, /members, .*, /set, /status, /transfer$")
        response = self.wire.ask("PUT", "/set?key=k&val=v")
        self.check(response, 405, "this path takes GET, POST")
        self.assertEqual(response.headers["allow"], "GET, POST")
        self.assertEqual(self.wire.ask("DELETE", "/get?key=k").headers["allow"], "GET, HEAD, POST")
        self.check(self.wire.get("/transfer?to=1"), 405, "^this path takes POST$")
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_cross_site(self) -> None:
        """A page of another site may not change anything, whatever the method (hazard N7)."""
        for target in CHANGES:
            for method in ("GET", "POST"):
                if not (method == "GET" and "transfer" in target):
                    for where in ("cross-site", "same-site", "what comes next"):  # same-site: another port of the host
                        self.check(self.wire.ask(method, target, Sec_Fetch_Site=where), 403, "another site")

    def test_other_pages(self) -> None:
        """A page of another site is refused also where the browser names only the page (hazard N7)."""
        for page in (
            "http://evil.example",
            "http://localhost:1",
            "https://localhost.evil",
            "null",
            "",
            "localhost",
            "http://",
        ):
            for header in ("Origin", "Referer"):
                for target in CHANGES:
                    self.check(self.wire.ask("POST", target, b"", **{header: page}), 403, "may not change anything")
                self.check(self.wire.ask("GET", CHANGES[0], b"", **{header: page}), 403)
        own, other = "http://localhost/page", "http://other/page"
        self.check(self.wire.ask("POST", CHANGES[0], Origin=own, Referer=other), 403)
        self.check(self.wire.ask("POST", CHANGES[0], Origin="x" * 5_000), 403, "^a page of 'x{60}'... may not")


class SameSiteTests(ApiTestCase):
    def test_allowed(self) -> None:
        """Reads from anywhere, and changes from the same origin or from no page at all, pass."""
        self.check(self.wire.ask("GET", "/get?key=k", Sec_Fetch_Site="cross-site"), 404)
        for where in ("same-origin", "none"):
            self.check(self.wire.ask("GET", "/set?key=k&val=v", Sec_Fetch_Site=where), 200)
        self.check(self.wire.ask("GET", "/get?key=k", Origin="http://evil.example"), 200)
        own = "http://LOCALHOST"
        self.check(self.wire.ask("POST", "/set?key=k&val=v", Origin=own, Referer=f"{own}/page?q=http://x/"), 200)


class UndecidedTests(ApiTestCase):
    def test_not_applied(self) -> None:
        """503 and not-applied, for every way in which a request certainly had no effect."""
        for error in (NotApplied("no\nleader"), NotLeader(2), Overloaded("too much waits")):
            self.replica.failure = error
            for target in (*CHANGES, "/get?key=k"):
                response = self.wire.post(target, b"")
                self.check(response, 503, " ".join(str(error).split()))
                self.assertEqual(response.headers["x-txraft-outcome"], "not-applied")
                self.assertEqual(response.headers["retry-after"], "1")

    def test_unknown(self) -> None:
        """503 and unknown where it may have had one (hazard C5)."""
        self.replica.failure = OutcomeUnknown("the leader went away")
        for target in CHANGES:
            response = self.wire.post(target, b"")
            self.check(response, 503, "^the leader went away$")
            self.assertEqual(response.headers["x-txraft-outcome"], "unknown")
            self.assertEqual(response.headers["retry-after"], "1")

    def test_command_that_failed(self) -> None:
        """500 and what the state machine says: that is the result, and nothing about it is unknown (hazard C10)."""
        self.replica.failure = CommandFailed("the command failed: ValueError: no")
        for target in CHANGES:
            response = self.wire.post(target, b"")
            self.check(response, 500, "^the command failed: ValueError: no$")
            self.assertNotIn("x-txraft-outcome", response.headers)

    def test_unexpected(self) -> None:
        """500, the failure in the log and not in the answer; where something may have changed, unknown (hazard C5)."""
        self.replica.failure = ZeroDivisionError("secret")
        for target in (*CHANGES, "/get?key=k"):
            response = self.wire.post(target, b"")
            self.check(response, 500, "^(?!.*secret)")
            self.assertEqual(response.headers.get("x-txraft-outcome"), "unknown" if target in CHANGES else None)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_unexpected_at_once(self) -> None:
        """A replica that raises instead of failing is answered in the same way."""
        self.patch(self.replica, "propose", lambda _: 1 // 0)
        response = self.wire.get("/set?key=k&val=v")
        self.check(response, 500)
        self.assertEqual(response.headers["x-txraft-outcome"], "unknown")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_results_of_other_versions(self) -> None:
        """A command that the leader does not know is not applied; a result that this node does not know, unknown."""
        self.replica.waiting = []
        self.wire.request("GET", "/set?key=k&val=v")
        self.replica.waiting.pop().callback(Result.INVALID.value)
        self.assertEqual(self.wire.response().headers["x-txraft-outcome"], "unknown")
        self.wire.request("GET", "/set?key=k&val=v")
        self.replica.waiting.pop().callback(b"\xfe")
        self.assertEqual(self.wire.response().headers["x-txraft-outcome"], "unknown")

    def test_client_goes(self) -> None:
        """A client that leaves while its request waits: the request goes its way, and nothing is logged."""
        self.replica.waiting = []
        for outcome in (Result.DONE.value, Failure(OutcomeUnknown("late"))):
            wire = Wire(self.replica)
            wire.request("GET", "/set?key=k&val=v")
            proposal = self.replica.waiting.pop()
            wire.disconnect()
            self.assertFalse(proposal.called)
            proposal.callback(outcome)
            self.assertEqual(wire.transport.value(), b"")
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_barrier_fails_late(self) -> None:
        """A read that cannot be decided is a 503 with its reason."""
        self.patch(self.replica, "read_barrier", lambda: fail(NotApplied("gone")))
        self.check(self.wire.get("/get?key=k"), 503, "^gone$")
