"""What both clients do, against the API of a node on a real port: they are twins."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.client.scripted import status_of
from tests.client.serving import ServingTestCase
from tests.web.wire import MEMBERS, STATUS, FakeReplica
from txraft.addresses import Address
from txraft.client import ANY, Cas, Delete, Get, KeyInfo, Set, Value
from txraft.client.http import OTHER_PORT
from txraft.errors import (
    BadRequest,
    ConditionFailed,
    IdempotencyKeyUsed,
    NotApplied,
    OutcomeUnknown,
    TooLarge,
    Unreachable,
)
from txraft.settings import SizeLimits

EVERY_BYTE = bytes(range(256))
SET = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nset value"
VALUE = b'HTTP/1.1 200 OK\r\nETag: "7"\r\nContent-Length: 5\r\n\r\nvalue'
NOBODY = Address("127.0.0.1", 1)
SHORT = 0.1
"""Seconds, where the end of a time limit is what is tested: time for one attempt."""


class ClientContract(ServingTestCase):
    """Each test that a client has to pass."""

    def make(self, *nodes: Address, **options: Any) -> Any:
        """A client of nodes, which is closed at the end. It looks for no leader unless it is told to."""
        raise NotImplementedError

    def ask(self, client: Any, method: str, *arguments: Any, **options: Any) -> "Deferred[Any]":
        """Call a method of it."""
        raise NotImplementedError

    def all_keys(self, client: Any, prefix: bytes, limit: int | None = None) -> "Deferred[list[KeyInfo]]":
        """All that its `keys` gives."""
        raise NotImplementedError

    async def fails(self, kind: type[Exception], client: Any, method: str, *arguments: Any, **options: Any) -> str:
        """It does, and with no other class. Gives the line."""
        try:
            result = await self.ask(client, method, *arguments, **options)
        except kind as error:
            self.assertIs(type(error), kind)
            return str(error)
        raise AssertionError(f"{method} gave {result!r}")

    async def test_the_life_of_a_key(self) -> None:
        """Every method, and each of its answers."""
        address, _ = self.serve()
        client = self.make(address)
        self.assertIsNone(await self.ask(client, "get", "k"))
        self.assertIsNone(await self.ask(client, "set", "k", "v"))
        self.assertEqual(await self.ask(client, "get", "k"), Value(b"v", 2))
        self.assertEqual(await self.ask(client, "get", "k", consistency="stale"), Value(b"v", 2))
        self.assertIs(await self.ask(client, "cas", "k", "other", "w"), False)
        self.assertIs(await self.ask(client, "cas", "none", "", "w"), False)
        self.assertIs(await self.ask(client, "cas", "k", "v", "w"), True)
        self.assertIs(await self.ask(client, "delete", "k"), True)
        self.assertIs(await self.ask(client, "delete", "k"), False)

    async def test_conditions(self) -> None:
        """They go by revisions, and where one does not hold, nothing is done."""
        address, _ = self.serve()
        client = self.make(address)
        await self.ask(client, "set", "k", "1", if_none_match=ANY)
        line = await self.fails(ConditionFailed, client, "set", "k", "2", if_none_match=ANY)
        self.assertIn("nothing was done", line)
        await self.ask(client, "set", "k", "2", if_match=2)
        await self.fails(ConditionFailed, client, "set", "k", "3", if_match=2)
        await self.fails(ConditionFailed, client, "delete", "k", if_match=[2, 9])
        await self.fails(ConditionFailed, client, "delete", "k", if_none_match=[9, 3])
        await self.fails(ConditionFailed, client, "delete", "none", if_match=ANY)
        self.assertEqual(await self.ask(client, "get", "k"), Value(b"2", 3))
        self.assertIs(await self.ask(client, "delete", "k", if_match=[2, 3], if_none_match=9), True)

    async def test_batch(self) -> None:
        """Each operation has its result; all are done, or none is."""
        address, _ = self.serve()
        client = self.make(address)
        operations = [Set("a", EVERY_BYTE), Get("a"), Cas("a", EVERY_BYTE, "ä"), Get("a"), Get("b"), Delete("b")]
        results = await self.ask(client, "batch", operations)
        self.assertEqual(results, [True, EVERY_BYTE, True, "ä".encode(), None, False])
        line = await self.fails(ConditionFailed, client, "batch", [Set("a", "x"), Cas("b", "", "")])
        self.assertEqual(line, "[1].cas: there is no such key; nothing was done")
        self.assertIs((await self.ask(client, "batch", [Delete("a")]))[0], True)
        self.assertIn("the list has no operation", await self.fails(BadRequest, client, "batch", []))

    async def test_bytes(self) -> None:
        """Keys and values are bytes; a text is taken as UTF-8."""
        address, _ = self.serve()
        client = self.make(address)
        for key, value in (
            (EVERY_BYTE, EVERY_BYTE[::-1]),
            (b"\xff" * 4096, b""),
            ("é", "\r\n\r\n"),
            (b"+ &=%", b"+ &=%"),
        ):
            await self.ask(client, "set", key, value)
            found = await self.ask(client, "get", key)
            self.assertEqual(found.value, value.encode() if isinstance(value, str) else value)
        keys = [info.key for info in await self.all_keys(client, b"")]
        self.assertEqual(keys, sorted([EVERY_BYTE, b"\xff" * 4096, "é".encode(), b"+ &=%"]))

    async def test_listings(self) -> None:
        """All keys, however many, or a page of them."""
        replica = FakeReplica()
        address, _ = self.serve(replica)
        client = self.make(address)
        for start in range(0, 2500, 500):
            await self.ask(client, "batch", [Set(f"k{number:04}", "") for number in range(start, start + 500)])
        await self.ask(client, "set", "other", "")
        barriers = replica.barriers
        keys = [info.key for info in await self.all_keys(client, b"k")]
        self.assertEqual(keys, [b"k%04d" % number for number in range(2500)])
        self.assertEqual(replica.barriers - barriers, 3)
        self.assertEqual(len(await self.all_keys(client, b"k", limit=1500)), 1500)
        listing = await self.ask(client, "list_keys", "k", after="k0001", limit=1)
        self.assertEqual((listing.count, listing.more, listing.revision), (2500, True, 7))
        self.assertEqual(listing.keys, (KeyInfo(b"k0002", 2, 2, 1),))

    async def test_the_cluster(self) -> None:
        """What it says of itself, and a transfer."""
        replica = FakeReplica()
        address, _ = self.serve(replica)
        client = self.make(address)
        status = await self.ask(client, "status")
        self.assertEqual((status.id, status.term, status.members), (STATUS.id, STATUS.term, STATUS.members))
        self.assertEqual(status.data_size, 12_345)
        self.assertEqual(await self.ask(client, "members"), MEMBERS)
        self.assertIsNone(await self.ask(client, "transfer", 1))
        self.assertEqual(replica.transfers, [1])

    async def test_what_is_wrong(self) -> None:
        """The line is the node's, also where it does not read all of what it refuses, and nobody is asked twice."""
        address, counting = self.serve(limits=SizeLimits(value_size=100_000))
        client = self.make(address)
        self.assertEqual(await self.fails(BadRequest, client, "set", "", "v"), "the key is empty")
        self.assertIn("the limit, key_size, is 4096", await self.fails(TooLarge, client, "get", "k" * 5000))
        for size, line in (
            (100_001, "value_size, is 100000"),
            (20_000_000, "which is more than any may be"),
        ):
            self.assertIn(line, await self.fails(TooLarge, client, "set", "k", b"x" * size))
        self.assertIn("limit is a number", await self.fails(BadRequest, client, "list_keys", limit=0))
        self.assertLessEqual(len(counting.made), 3)

    async def test_wrong_arguments(self) -> None:
        """They are refused before anything is sent."""
        address, counting = self.serve()
        client = self.make(address)
        await self.fails(BadRequest, client, "set", "k", "v", idempotency_key="a\nb")
        await self.fails(BadRequest, client, "get", "k", consistency="best")
        await self.fails(BadRequest, client, "set", "k", "v", if_match=0)
        await self.fails(BadRequest, client, "set", "k", "v", if_match=[])
        await self.fails(TypeError, client, "set", "k", 1)
        self.assertEqual(counting.made, [])

    async def test_idempotency_key(self) -> None:
        """With the caller's, the same request is done once, and another one is refused (hazard C5)."""
        address, _ = self.serve()
        client = self.make(address)
        for _ in range(2):
            self.assertIs(await self.ask(client, "cas", "k", "", "v", idempotency_key="mine"), False)
            await self.ask(client, "set", "k", "", idempotency_key="other")
        await self.fails(IdempotencyKeyUsed, client, "set", "k", "v", idempotency_key="mine")

    async def test_sent_again(self) -> None:
        """A connection that ends without an answer, or in the middle of one, is none; the key stays the same (C5)."""
        for cut in (b"", SET[:-1], SET[:20], b"\x15\x03\x01\r\n\r\n", b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n"):
            address, server = self.say(cut, SET)
            await self.ask(self.make(address), "set", "k", "v")
            keys = [request.lower().partition(b"idempotency-key: ")[2][:36] for request in server.requests]
            self.assertEqual((len(keys), len(set(keys)), len(keys[0])), (2, 1, 36), cut)

    async def test_redirects(self) -> None:
        """They are followed nowhere: no node sends any."""
        elsewhere, its = self.serve()
        head = f"HTTP/1.1 302 Found\r\nLocation: http://{elsewhere}/get?key=k\r\nContent-Length: 0\r\n\r\n"
        address, _ = self.say(head.encode(), VALUE)
        self.assertEqual(await self.ask(self.make(address), "get", "k"), Value(b"value", 7))
        self.assertEqual(its.made, [])

    async def test_half_of_a_value(self) -> None:
        """It is never taken for all of it."""
        address, server = self.say(VALUE[:-1], VALUE)
        self.assertEqual(await self.ask(self.make(address), "get", "k"), Value(b"value", 7))
        self.assertEqual(len(server.requests), 2)

    async def test_large_values(self) -> None:
        """As large as a value can be, and whole."""
        address, _ = self.serve(limits=SizeLimits(value_size=3 * 2**20))
        client = self.make(address)
        value = EVERY_BYTE * (3 * 2**12)
        await self.ask(client, "set", "k", value, timeout=600)
        self.assertTrue((await self.ask(client, "get", "k", timeout=600)).value == value)

    async def test_connections_are_kept(self) -> None:
        """One is enough for requests that follow on each other, whatever they are answered."""
        address, counting = self.serve()
        client = self.make(address)
        for _ in range(3):
            await self.ask(client, "set", "k", "v")
            await self.ask(client, "get", "none")
            await self.ask(client, "cas", "none", "", "")
            await self.fails(BadRequest, client, "set", "", "")
            await self.ask(client, "batch", [Get("k")])
            await self.all_keys(client, b"")
        self.assertEqual(len(counting.made), 1)

    async def test_a_connection_that_the_node_has_closed(self) -> None:
        """It is not used: what is sent once would not arrive."""
        replica = FakeReplica()
        address, counting = self.serve(replica)
        client = self.make(address)
        await self.ask(client, "get", "k")
        counting.hang_up()
        await self.ask(client, "get", "none", timeout=600)  # a turn of the reactor, in which it hears of that
        counting.hang_up()
        await self.turn()
        await self.ask(client, "transfer", 1)
        self.assertEqual(replica.transfers, [1])

    async def test_nobody_listens(self) -> None:
        """Then nothing was done; another node is asked where there is one."""
        line = await self.fails(Unreachable, self.make(NOBODY), "set", "k", "v", timeout=SHORT)
        self.assertIn(f"/set was not done, and may be sent again: {NOBODY}: cannot be reached: ", line)
        address, _ = self.serve()
        await self.ask(self.make(NOBODY, address), "set", "k", "v")

    async def test_a_name_that_leads_nowhere(self) -> None:
        """As where nobody listens."""
        await self.fails(Unreachable, self.make(Address("no.such.host.invalid", 1)), "set", "k", "v", timeout=SHORT)

    async def test_a_silent_node(self) -> None:
        """A change may have been done; a read has not."""
        address, _ = self.say(None)
        client = self.make(address)
        line = await self.fails(OutcomeUnknown, client, "set", "k", "v", timeout=SHORT, idempotency_key="mine")
        self.assertIn("no answer within", line)
        self.assertIn("with the Idempotency-Key mine, it is done once", line)
        await self.fails(Unreachable, client, "get", "k", timeout=SHORT)
        self.assertIn("no answer within", await self.fails(OutcomeUnknown, client, "transfer", 1, timeout=SHORT))

    async def test_another_port(self) -> None:
        """What is no HTTP, as at a node's port of Raft, gets a hint; half of an answer in HTTP does not."""
        for says, has_hint in ((b"", True), (b"\x00\x01txraft\r\n", True), (VALUE[:-1], False)):
            client = self.make(self.say(says)[0])
            line = await self.fails(OutcomeUnknown, client, "set", "k", "v", timeout=SHORT, idempotency_key="mine")
            self.assertEqual(OTHER_PORT in line, has_hint, line)
            line = await self.fails(Unreachable, client, "get", "k", timeout=SHORT)
            self.assertEqual(line.endswith(OTHER_PORT), has_hint, line)

    async def test_no_leader(self) -> None:
        """What the node says is in the line."""
        replica = FakeReplica()
        replica.failure = NotApplied("no leader was found")
        address, _ = self.serve(replica)
        client = self.make(address)
        for method, arguments in (("get", ("k",)), ("set", ("k", "v"))):
            line = await self.fails(NotApplied, client, method, *arguments, timeout=SHORT)
            self.assertIn(f"{address}: no leader was found", line)

    async def test_finds_the_leader(self) -> None:
        """By what any node says, and keeps to it."""
        leader, its = self.serve()
        follower, counting = self.say(self.status_with(leader))
        client = self.make(follower, leader, finds_leader=True)
        for _ in range(2):
            await self.ask(client, "set", "k", "v")
        self.assertEqual([request.split()[1] for request in counting.requests], [b"/status"])
        self.assertEqual(len(its.made), 1)

    def status_with(self, leader: Address) -> bytes:
        """The answer of a node that knows who leads."""
        body = status_of(0, leader).body
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    def turn(self) -> "Deferred[None]":
        """Some turns of the reactor."""
        return deferLater(self.reactor, 0.01)
