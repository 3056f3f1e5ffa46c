"""Changes of the membership and rolling restarts: what is asked, what is counted, and what is printed."""

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.bench import changing, members, rolling
from tests.bench.changing import EtcdChanging, Roving, TxraftChanging
from tests.bench.connections import Answer
from tests.bench.load import Disturbed
from tests.bench.members import Changed
from tests.bench.pace import Period
from tests.bench.rolling import Restarted, Rolling, Writers
from tests.bench.systems import Etcd, Txraft
from tests.bench.test_large import rows

OK, REFUSED = Answer(200, b""), Answer(503, b"no")
PERIOD = Period(seconds=10, written=5000, failed=0, p50=2, p99=10, longest=20, gap=30)
CHANGED = Changed("txraft", "replace a dead voter", 0.1, PERIOD, joined=0.2, caught_up=3, votes=4.5, others=0.25)
RESTARTED = Restarted(led=True, gap=0.05, there=3, elsewhere=0, took=2, written=1000, said=[])


class Pools:
    """What each node says to each request, or what befalls that."""

    def __init__(self, says: Callable[[str, bytes], Answer | Exception]) -> None:
        self.asked: list[tuple[str, bytes]] = []
        self._says = says

    def __call__(self, _reactor: object, url: str, _patience: float) -> Any:
        async def ask(request: bytes) -> Answer:
            self.asked.append((url, request))
            said = self._says(url, request)
            if isinstance(said, Exception):
                raise said
            return said

        return Namespace(ask=ask, close=lambda: None)


def three() -> Any:
    """A system whose nodes are their own URLs."""
    return Namespace(name="fake", nodes=["a", "b", "c"], url=str, is_running=lambda node: node != "b")


class RovingTests(SynchronousTestCase):
    def ask(self, *answers: Answer | Exception) -> tuple[Answer, list[str]]:
        """What came of a request where these are what was said to it, and who said so."""
        left, clock = list(answers), Clock()
        pools = Pools(lambda _url, _request: left.pop(0))
        self.patch(changing, "Pool", pools)
        asking = ensureDeferred(Roving(clock, three(), "a", patience=1.0).ask(b"x"))
        clock.pump([0.05] * 100)
        return self.successResultOf(asking), [url for url, _ in pools.asked]

    def test_goes_on(self) -> None:
        """To the next node that runs, where one refuses, or cuts off."""
        self.assertEqual(self.ask(OK), (OK, ["a"]))
        for trouble in (REFUSED, ConnectionDone()):
            self.assertEqual(self.ask(trouble, OK), (OK, ["a", "c"]))
        self.assertEqual(self.ask(REFUSED, REFUSED, OK), (OK, ["a", "c", "a"]))

    def test_gives_up(self) -> None:
        self.patch(changing, "TRIES", 2)
        self.assertEqual(self.ask(*[REFUSED] * 3), (REFUSED, ["a", "c", "a"]))

    def test_node_that_is_gone(self) -> None:
        """It is none of the system's any more, and the first of the others is asked."""
        system, clock = three(), Clock()
        roving = Roving(clock, system, "removed", patience=1.0)
        self.patch(changing, "Pool", Pools(lambda url, _request: ConnectionDone() if url == "removed" else OK))
        asking = ensureDeferred(roving.ask(b"x"))
        clock.advance(1)
        self.assertEqual(self.successResultOf(asking), OK)
        self.assertEqual(roving.node, "a")


class ChangingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.members: Any = None
        self.refuses = False
        self.place = Path(self.mktemp())
        self.place.mkdir()

    def says(self, _url: str, request: bytes) -> Answer:
        is_question = request.startswith(b"GET") or b"member/list" in request
        return Answer(200, json.dumps(self.members).encode()) if is_question else REFUSED if self.refuses else OK

    def asked(self, pools: Pools) -> list[str]:
        """Method, path and body of each change."""
        texts = [request.decode() for _, request in pools.asked]
        parts = [(text.split(" HTTP")[0], text.partition("\r\n\r\n")[2]) for text in texts]
        return [f"{head} {body}".strip() for head, body in parts if "GET" not in head and "list" not in head]

    def make(self, kind: Any, system: Any) -> tuple[Any, Pools, Any]:
        for node in system.nodes:
            self.patch(node, "start", lambda: None)
        pools = Pools(self.says)
        self.patch(changing, "Pool", pools)
        made = kind(system, Roving(Clock(), system, system.nodes[0], 1.0), ExitStack())
        self.patch(type(system.nodes[0]), "running", True)
        new = made.new()
        new.start = lambda: None
        return made, pools, new

    def test_txraft(self) -> None:
        """Its HTTP API, and a new node that is to join."""
        system = Txraft(None, self.place, 3)
        made, pools, new = self.make(TxraftChanging, system)
        self.assertIn("--join", new.options)
        dead = system.nodes[1]
        address, kvaddr = (each.replace(":", "%3A") for each in (new.address, new.kvaddr))
        for change in (made.add(new, True), made.promote(new), made.move(new), made.remove(new)):
            self.successResultOf(ensureDeferred(change))
        self.assertEqual(len(system.nodes), 3)
        newest = made.new()
        self.assertEqual(newest.id, 4)  # no id is used twice
        newest.start = lambda: None
        self.successResultOf(ensureDeferred(made.replace(dead, newest)))
        self.assertEqual([node.id for node in system.nodes], [0, 2, 4])
        self.assertEqual(
            self.asked(pools)[:-1],
            [
                f"POST /members id=3&address={address}&kvaddr={kvaddr}&learner=true",
                "POST /members/promote id=3",
                f"POST /members/update id=3&address=localhost%3A{new.address.split(':')[1]}",
                "DELETE /members?id=3",
            ],
        )
        self.assertIn("POST /members/replace id=1&address=127.0.0.1", self.asked(pools)[-1])
        self.assertIn("&by=4", self.asked(pools)[-1])

    def test_etcd(self) -> None:
        """Its JSON gateway: a member has another id there than its name, and is removed before another is added."""
        system = Etcd(None, self.place, 3)
        made, pools, new = self.make(EtcdChanging, system)
        dead = system.nodes[1]
        self.members = {"members": [{"ID": "77", "peerURLs": [dead.peer_url], "isLearner": True}]}
        self.assertFalse(self.successResultOf(ensureDeferred(made.is_voter(dead))))
        self.successResultOf(ensureDeferred(made.replace(dead, new)))
        self.assertEqual((new.state, new.others, system.nodes[-1]), ("existing", system.nodes, new))
        self.assertEqual(
            self.asked(pools),
            [
                'POST /v3/cluster/member/remove {"ID": "77"}',
                f'POST /v3/cluster/member/add {{"peerURLs": ["{new.peer_url}"], "isLearner": false}}',
            ],
        )

    def test_made_without_a_word(self) -> None:
        """As where the leader was removed before it could say so."""
        system = Txraft(None, self.place, 3)
        made, _, _ = self.make(TxraftChanging, system)
        self.members, self.refuses = {"joint": False, "members": [{"id": 1, "voter": True}]}, True
        self.successResultOf(ensureDeferred(made.remove(system.nodes[0])))
        self.patch(changing, "TRIES", 1)
        removing = ensureDeferred(made.remove(system.nodes[0]))
        made._roving.reactor.advance(1)
        self.assertIn("does not remove a node: no", str(self.failureResultOf(removing, Disturbed).value))


class MembersTests(SynchronousTestCase):
    def test_table(self) -> None:
        """What brings no voter has no such times."""
        plain = Changed("etcd", "none", 2, PERIOD)
        text = members.table([[CHANGED], [plain]])
        self.assertEqual(
            rows(text)["txraft"], ["replace a dead voter", "0.10", "0.20", "3.00", "4.50", "30", "10", "0"]
        )
        self.assertEqual(rows(text)["etcd"], ["none", "2.00", "30", "10", "0"])
        self.assertIn("at most 25% of the machine", text)
        self.assertIn("votes 4.50 s", members.said(CHANGED))
        self.assertNotIn("votes", members.said(plain))


class WritersTests(SynchronousTestCase):
    """Two clients of two nodes, of which each answers as it is told to."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.down: set[str] = set()
        self.waiting: dict[str, list[Deferred[Answer]]] = {"a": [], "b": []}
        self.patch(rolling, "connect", self.connect)
        system: Any = Namespace(nodes=["a", "b"], url=str, set_one=lambda number, _size: str(number).encode())
        self.writers = Writers(self.clock, system, count=2, size=1)
        self.writers.start()

    def connect(self, _reactor: object, url: str) -> "Deferred[Any]":
        if url in self.down:
            raise ConnectError
        return succeed(Namespace(lost=False, close=lambda: None, ask=lambda _request: self.ask(url)))

    def ask(self, url: str) -> "Deferred[Answer]":
        self.waiting[url].append(Deferred())
        return self.waiting[url][-1]

    def end(self, url: str, answer: Answer | Exception) -> None:
        asked = self.waiting[url].pop(0)
        asked.errback(answer) if isinstance(answer, Exception) else asked.callback(answer)

    def counts(self) -> tuple[int, int]:
        return len(self.waiting["a"]), len(self.waiting["b"])

    def test_gap(self) -> None:
        """Between any two acknowledged writes, whoever sent them; also the one that has not ended."""
        self.clock.advance(0.3)
        self.end("a", OK)
        self.clock.advance(0.2)
        self.end("b", OK)
        self.assertAlmostEqual(self.writers.gap, 0.3)
        self.clock.advance(0.4)
        self.writers.look()
        self.assertAlmostEqual(self.writers.gap, 0.4)
        self.assertEqual((self.writers.written, self.counts()), (2, (1, 1)))
        self.writers.again()
        self.assertEqual((self.writers.gap, self.writers.written), (0, 0))

    def test_next_node(self) -> None:
        """Where one refuses or cuts off, which counts as its failure, or does not listen, which does not; and home
        again when that is called for."""
        self.end("a", REFUSED)
        self.clock.advance(1)
        self.assertEqual((self.writers.failed[0], self.counts()), (1, (0, 2)))
        self.assertEqual(list(self.writers.said), [(0, "503 no")])
        self.end("b", ConnectionDone())
        self.assertEqual(self.writers.failed[1], 1)
        self.down = {"a"}
        self.clock.pump([0.1] * 5)
        self.assertEqual((sum(self.writers.failed.values()), self.counts()), (2, (0, 2)))
        self.down = set()
        self.writers.again()
        for _ in range(2):
            self.end("b", OK)
        self.assertEqual(self.counts(), (1, 1))
        stopped = ensureDeferred(self.writers.stop())
        for url in "ab":
            self.assertNoResult(stopped)
            self.end(url, OK)
        self.successResultOf(stopped)


class RollingTests(SynchronousTestCase):
    def test_table(self) -> None:
        """The longest gap and all errors of the leaders, and of the followers, by themselves."""
        slow = evolve(RESTARTED, gap=0.2, there=0, elsewhere=2, took=6)
        follower = evolve(RESTARTED, led=False)
        found = rows(rolling.table([Rolling("txraft", 0.4, [RESTARTED, slow, follower], 0.5)]))
        self.assertEqual(found["txraft"], ["follower, 1 times", "50", "400", "3", "0", "2.0", "500"])
        text = rolling.table([Rolling("txraft", 0.4, [RESTARTED, slow], 0.5)])
        self.assertEqual(rows(text)["txraft"], ["leader, 2 times", "200", "400", "3", "2", "4.0", "250"])
        said = evolve(slow, said=["elsewhere, 2 times: 503 no"])
        self.assertIn("0 errors there, 2 elsewhere; elsewhere, 2 times: 503 no", rolling.said(said))

    def test_node_that_does_not_end(self) -> None:
        """That is not measured."""
        clock = Clock()
        node = Namespace(terminate=lambda: None)

        async def leader() -> Any:
            return node

        system: Any = Namespace(name="fake", nodes=[node], leader=leader, is_running=lambda _node: True)
        self.patch(sys, "stdout", StringIO())
        restarting = ensureDeferred(rolling._restarted(clock, system, Writers(clock, system, 0, 1), 0))
        clock.pump([0.5] * 200)
        self.assertIn("a node of fake ends", str(self.failureResultOf(restarting, Disturbed).value))
