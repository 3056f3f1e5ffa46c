"""Requests with conditions, and those that are sent again."""

from twisted.trial.unittest import SynchronousTestCase

from tests.web.wire import FakeReplica, Response, Wire
from txraft.errors import OutcomeUnknown
from txraft.kv.records import mod_revision_of
from txraft.web.conditional import MAX_IDEMPOTENCY_KEY


class WithWire(SynchronousTestCase):
    def setUp(self) -> None:
        self.wire = Wire()

    def set(self, value: str = "v", **headers: str) -> Response:
        return self.wire.ask("GET", f"/set?key=k&val={value}", b"", **headers)

    def get(self, **headers: str) -> Response:
        return self.wire.ask("GET", "/get?key=k", b"", **headers)

    def check(self, response: Response, code: int, body: str) -> None:
        self.assertEqual(response.code, code, response)
        self.assertIn(body, response.body.decode())


class ConditionTests(WithWire):
    def test_etag(self) -> None:
        """It is the key's mod_revision, however the value is read and whatever it is; what is no value has none."""
        self.assertNotIn("etag", self.get().headers)
        self.assertNotIn("etag", self.set().headers)
        for value, revision in (("v", 3), ("%FF", 4), ("%C2%B5", 5), ("", 6)):
            self.set(value)
            self.assertEqual(self.wire.get("/get?key=k").headers["etag"], f'"{revision}"')
            self.assertEqual(self.wire.get("/get?key=k&consistency=stale").headers["etag"], f'"{revision}"')
        self.wire.request("HEAD", "/get?key=k")
        self.assertIn(b'\r\nETag: "6"\r\n', self.wire.transport.value())

    def test_if_match(self) -> None:
        """A change is made where the key's revision is one of the list, or where there is a key, for *."""
        refused = "the key is not as If-Match and If-None-Match want it; nothing was done"
        self.check(self.set(If_Match="*"), 412, refused)
        self.check(self.set(), 200, "set value")
        for wrong in ('"3"', '"1", "3"', '"22"'):
            self.check(self.set(If_Match=wrong), 412, refused)
        for right, value in (("*", "a"), ('"3"', "b"), ('"1" ,"4",, "9"', "c"), (' \t"5"', "d")):
            self.check(self.set(value, If_Match=right), 200, "set value")
        self.check(self.wire.ask("GET", "/cas?key=k&old=d&val=e", If_Match='"5"'), 412, refused)
        self.check(self.wire.ask("GET", "/cas?key=k&old=x&val=e", If_Match='"6"'), 409, "the value is not `old`")
        self.check(self.wire.ask("GET", "/delete?key=k", If_Match='"5"'), 412, refused)
        self.check(self.wire.ask("GET", "/delete?key=k", If_Match='"6"'), 200, "deleted value")
        self.check(self.get(), 404, "")

    def test_weak(self) -> None:
        """An ETag that a proxy has made weak matches nothing, for If-Match; others beside it do (RFC 9110 §13.1.1)."""
        self.set()
        for wrong in ('W/"2"', 'W/"2", "1"', 'W/"2", W/"2"'):
            self.check(self.set(If_Match=wrong), 412, "nothing was done")
            self.check(self.get(If_Match=wrong), 412, "")
        self.check(self.get(If_Match='W/"1", "2"'), 200, "v")
        self.check(self.set(If_Match='W/"2", "2"'), 200, "set value")

    def test_if_none_match(self) -> None:
        """A key is created only if it is absent: a lock is taken by one of two. A deleted key is absent."""
        for _ in range(2):
            self.check(self.set("mine", If_None_Match="*"), 200, "set value")
            self.check(self.set("yours", If_None_Match="*"), 412, "nothing was done")
            self.check(self.get(), 200, "mine")
            self.check(self.wire.get("/delete?key=k"), 200, "deleted value")
        self.set()
        self.check(self.set("w", If_None_Match='"6"'), 412, "nothing was done")
        self.check(self.set("w", If_None_Match='"5", W/"7"'), 200, "set value")
        self.check(self.set("x", If_None_Match='"6"', If_Match='"6"'), 412, "nothing was done")

    def test_reading(self) -> None:
        """304 while the value has not changed, with the head that a 200 has and no body; 404 where there is none."""
        self.check(self.get(If_None_Match='"2"'), 404, "no such key")
        for value in ("value", "%FF"):
            self.set(value)
            full = self.get()
            for tag in (full.headers["etag"], f"W/{full.headers['etag']}", "*"):
                response = self.get(If_None_Match=tag)
                self.assertEqual((response.code, response.body, response.headers), (304, b"", full.headers))
            self.assertEqual(self.get(If_None_Match='"99"'), full)
            self.assertEqual(self.get(If_Match=full.headers["etag"]), full)
            self.check(self.get(If_Match='"99"'), 412, "")

    def test_nonsense(self) -> None:
        """What is no list of ETags is refused, and changes nothing."""
        for header in ("If_Match", "If_None_Match"):
            for wrong in ("7", '"7', '"seven"', '"07"', '"0"', '*, "7"', "'7'", '"7" "8"', f'"{"7" * 20}"', "", ","):
                response = self.set(**{header: wrong})
                self.check(response, 400, header.replace("_", "-"))
        self.assertEqual(self.wire.replica.proposals, 0)

    def test_where_there_are_none(self) -> None:
        """A condition is honoured or refused, never passed over."""
        body, kind = b'[{"set": {"key": "k", "val": "v"}}]', "application/json"
        self.check(self.wire.ask("POST", "/batch", body, Content_Type=kind, If_Match="*"), 400, "it has cas")
        for headers in ({"If_Match": "*"}, {"If_None_Match": "*"}, {"Idempotency_Key": "i"}):
            self.check(self.wire.ask("POST", "/transfer?to=1", b"", **headers), 400, "/transfer takes no If-Match")
        self.assertEqual((self.wire.replica.proposals, self.wire.replica.transfers), (0, []))


class IdempotencyTests(WithWire):
    """Hazard C5."""

    def test_sent_again(self) -> None:
        """It is answered as the first time, on another node too, whatever has happened since and whatever came of it;
        whether its fields came in the URL or in a form."""
        self.check(self.set("1", Idempotency_Key="i"), 200, "set value")
        self.set("2")
        other = Wire(self.wire.replica)
        self.check(other.ask("GET", "/set?val=1&key=k", Idempotency_Key="i"), 200, "set value")
        form = "application/x-www-form-urlencoded"
        self.check(
            other.ask("POST", "/set", b"key=%6b&val=1", Idempotency_Key="i", Content_Type=form), 200, "set value"
        )
        self.check(self.get(), 200, "2")
        for target, code in (("/cas?key=k&old=3&val=4", 409), ("/delete?key=none", 404)):
            self.check(self.wire.ask("GET", target, Idempotency_Key=target), code, "")
        self.check(self.set("x", Idempotency_Key="lock", If_None_Match="*"), 412, "nothing was done")
        for target in ("/delete?key=k", "/set?key=k&val=3", "/set?key=none&val=x"):
            self.wire.get(target)
        for target, code in (("/cas?key=k&old=3&val=4", 409), ("/delete?key=none", 404)):
            self.check(self.wire.ask("GET", target, Idempotency_Key=target), code, "")
        self.check(self.set("x", Idempotency_Key="lock", If_None_Match="*"), 412, "nothing was done")

    def test_batch(self) -> None:
        """What it read the first time is read again."""
        kind, cas = "application/json", b'[{"get": {"key": "k"}}, {"cas": {"key": "k", "old": "v", "val": "w"}}]'
        self.set()
        for _ in range(2):
            response = self.wire.ask("POST", "/batch", cas, Content_Type=kind, Idempotency_Key="i")
            self.check(response, 200, '["v", true]')
        other = self.wire.ask("POST", "/batch", cas + b" ", Content_Type=kind, Idempotency_Key="i")
        self.check(other, 200, '["v", true]')
        other = self.wire.ask("POST", "/batch", cas.replace(b'"w"', b'"x"'), Content_Type=kind, Idempotency_Key="i")
        self.check(other, 422, "this Idempotency-Key came with another request before; nothing was done")

    def test_another_request(self) -> None:
        """422, of whatever route, and with other conditions too."""
        self.set("1", Idempotency_Key="i")
        others: list[tuple[str, dict[str, str]]] = [
            ("/set?key=k&val=2", {}),
            ("/set?key=l&val=1", {}),
            ("/delete?key=k", {}),
            ("/set?key=k&val=1", {"If_Match": "*"}),
        ]
        for target, headers in others:
            response = self.wire.ask("GET", target, b"", Idempotency_Key="i", **headers)
            self.check(response, 422, "this Idempotency-Key came with another request before; nothing was done")
        self.assertEqual(self.get().headers["etag"], '"2"')

    def test_refused_before(self) -> None:
        """What never came to the log is not remembered, so that it can be mended and sent again."""
        self.wire.replica.failure = OutcomeUnknown("who knows")
        self.check(self.set("1", Idempotency_Key="i"), 503, "who knows")
        self.wire.replica.failure = None
        self.check(self.wire.ask("GET", "/set?key=k", Idempotency_Key="i"), 400, "val is missing")
        self.check(self.set("2", Idempotency_Key="i"), 200, "set value")

    def test_keys(self) -> None:
        """Any bytes, so many, and one key a request."""
        for wrong in ("", "i" * (MAX_IDEMPOTENCY_KEY + 1)):
            self.check(self.set(Idempotency_Key=wrong), 400, "it may have 1 to 255")
        self.wire.send(
            b"GET /set?key=k&val=v HTTP/1.1\r\nHost: x\r\nIdempotency-Key: i\r\nIdempotency-Key: i\r\n\r\n",
        )
        self.check(self.wire.response(), 400, "there is more than one Idempotency-Key")
        self.assertEqual(self.wire.replica.proposals, 0)
        for right in ("i" * MAX_IDEMPOTENCY_KEY, '"quoted"', "a b,c", "é"):
            self.check(self.set(Idempotency_Key=right), 200, "set value")

    def test_head_that_is_known(self) -> None:
        """A head that comes again and again, and is not parsed each time, has its key each time."""
        replica: FakeReplica = self.wire.replica
        request = b"GET /set?key=k&val=v HTTP/1.1\r\nHost: x\r\nIdempotency-Key: i\r\n\r\n"
        for _ in range(3):
            self.wire.send(request)
            self.check(self.wire.response(), 200, "set value")
        self.assertEqual((replica.proposals, mod_revision_of(replica.store.record(b"k"))), (3, 2))
