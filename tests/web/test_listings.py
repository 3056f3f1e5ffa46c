"""`/keys`."""

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.kv.applying import apply_command
from tests.web.wire import Wire
from txraft.errors import NotLeader
from txraft.kv import Set, encode
from txraft.web.listings import MAX_KEYS, MAX_SIZE


class ListingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.wire = Wire()

    def ask(self, query: str = "") -> Any:
        response = self.wire.get(f"/keys{query}")
        self.assertEqual((response.code, response.headers["content-type"]), (200, "application/json"), response)
        return json.loads(response.body)

    def keys(self, query: str) -> list[Any]:
        return [each["key"] for each in self.ask(query)["keys"]]

    def fill(self, *keys: bytes) -> None:
        for key in keys:
            apply_command(self.wire.replica.store, 1, encode(Set(key, b"v")))

    def test_listing(self) -> None:
        """Each key has its numbers, and the whole the revision as of which it is so."""
        self.assertEqual(self.ask(), {"revision": 1, "count": 0, "more": False, "keys": []})
        self.fill(b"b", b"a", b"b")
        first = {"key": "a", "create_revision": 3, "mod_revision": 3, "version": 1}
        second = {"key": "b", "create_revision": 2, "mod_revision": 4, "version": 2}
        self.assertEqual(self.ask(), {"revision": 4, "count": 2, "more": False, "keys": [first, second]})
        self.assertEqual(self.ask("?limit=1"), {"revision": 4, "count": 2, "more": True, "keys": [first]})

    def test_pages(self) -> None:
        """What comes behind the last key of a listing is the next one."""
        self.fill(b"a/1", b"a/2", b"a/3", b"b", b"a")
        self.assertEqual(self.keys("?prefix=a/"), ["a/1", "a/2", "a/3"])
        self.assertEqual(self.keys("?prefix=a/&limit=2"), ["a/1", "a/2"])
        self.assertEqual(self.keys("?prefix=a/&limit=2&after=a/2"), ["a/3"])
        self.assertEqual(self.keys("?after=a/3"), ["b"])

    def test_bytes(self) -> None:
        """Keys that are not text are written as in a batch."""
        self.fill(b"\xff", b"\0", "µ".encode())
        self.assertEqual(self.keys(""), [{"base64": "AA=="}, "µ", {"base64": "/w=="}])
        self.assertEqual(self.keys("?prefix=%FF"), [{"base64": "/w=="}])

    def test_bounds(self) -> None:
        """A listing has so many keys and so many bytes of them (hazard N1)."""
        self.fill(*(b"%06d" % number for number in range(MAX_KEYS + 1)))
        self.assertEqual(len(self.keys("")), MAX_KEYS)
        self.assertEqual(self.keys(f"?after={MAX_KEYS - 1:06}"), [f"{MAX_KEYS:06}"])
        self.fill(*(b"l%d" % number + bytes(MAX_SIZE // 4) for number in range(9)))
        listing = self.ask("?prefix=l")
        self.assertEqual((len(listing["keys"]), listing["count"], listing["more"]), (3, 9, True))
        for wrong in ("0", "-1", "1001", "", "1e2", "%C2%B2", "9" * 5000):
            response = self.wire.get(f"/keys?limit={wrong}")
            self.assertEqual(response.code, 400)
            self.assertIn(b"limit is a number from 1 to 1000", response.body)

    def test_consistency(self) -> None:
        """It waits for the barrier, and has what is there then, unless it asks for less."""
        barrier: Deferred[None] = Deferred()
        self.patch(self.wire.replica, "read_barrier", lambda: barrier)
        self.wire.request("GET", "/keys")
        self.fill(b"a")
        barrier.callback(None)
        self.assertIn(b'"a"', self.wire.response().body)
        self.patch(self.wire.replica, "read_barrier", Deferred)
        self.assertEqual(self.keys("?consistency=stale"), ["a"])
        wire = Wire()
        wire.replica.failure = NotLeader(None)
        self.assertEqual(wire.get("/keys").code, 503)

    def test_many_at_once(self) -> None:
        """Long listings take turns, so that heartbeats come between (hazard N1)."""
        self.fill(b"a")
        clients = [Wire(self.wire.replica) for _ in range(1)]
        for _ in range(20):
            client = Wire(self.wire.replica)
            client.site.long_jobs = clients[0].site.long_jobs
            clients.append(client)
        for client in clients:
            client.protocol.dataReceived(b"GET /keys HTTP/1.1\r\nHost: x\r\n\r\n")
        answered = sum(bool(client.transport.value()) for client in clients)
        self.assertGreater(answered, 5)
        self.assertLess(answered, len(clients))
