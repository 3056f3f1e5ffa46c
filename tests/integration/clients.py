"""Clients that ask for one thing after another, and write down what they were told, for `txraft.testing` to judge."""

import random
import time
from collections.abc import Sequence

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, TimeoutError, gatherResults
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed
from twisted.internet.task import deferLater
from twisted.web._newclient import RequestNotSent  # twisted.web.client does not export it, and raises it
from twisted.web.client import RequestTransmissionFailed, ResponseFailed

from tests.integration.client import Answer
from tests.integration.cluster import NodeProcess, ProcessCluster
from tests.integration.waiting import until
from txraft.kv import CompareAndSet, Delete, Result, Set
from txraft.testing.history import Action, Get, History, Operation, Outcome
from txraft.testing.history import Answer as Known

KEYS = [b"a", b"b", b"c", b"d"]

TIMEOUT = 1.2
"""Seconds after which a client gives up."""

PAUSE = 0.015
"""Seconds between two requests of a client, that there may be many clients and yet time to judge them."""

SETBACK = 0.1
"""Seconds after a request that was not decided."""

WANDERING = 0.01
"""How often a client goes to another node without a reason."""


@frozen
class Undecided:
    """A request that a node refused, or did not answer."""

    node: int
    began: float
    """Seconds, by the reactor's clock."""
    ended: float
    outcome: Outcome
    why: str
    connected: bool = True
    """Whether there was a connection. Where there was none, nothing was sent."""

    def __str__(self) -> str:
        return f"node {self.node}, {self.began:.3f} to {self.ended:.3f} s: {self.outcome.value}, {self.why}"


@define(eq=False)
class Clients:
    """Clients that are spread over the nodes, by default two a node. Each stays with a node as long as that one
    answers, and gives up a request after `patience` seconds."""

    cluster: ProcessCluster
    seed: int
    count: int = 0
    keys: Sequence[bytes] = KEYS
    patience: float = TIMEOUT
    undecided: list[Undecided] = field(factory=list, init=False)
    """In the order in which they ended."""
    answered: int = field(default=0, init=False)
    history: History = field(factory=lambda: History(time.monotonic), init=False)
    _seen: dict[bytes, bytes] = field(factory=dict, init=False)
    """By key, the value that somebody wrote or read last: a compare-and-set from it may well succeed."""
    _values: int = field(default=0, init=False)
    _stopping: bool = field(default=False, init=False)
    _running: "Deferred[list[None]] | None" = field(default=None, init=False)

    def start(self) -> None:
        """Begin."""
        nodes = self.cluster.nodes
        self._running = gatherResults(
            [
                Deferred.fromCoroutine(self._go_on(client, nodes[client % len(nodes)]))
                for client in range(self.count or 2 * len(nodes))
            ],
            consumeErrors=True,
        )

    async def stop(self) -> None:
        """Wait until each has its answer, or none, and is done. Fails where one met what should not happen."""
        self._stopping = True
        assert self._running is not None
        await self._running

    async def go_on(self, count: int) -> None:
        """Wait until so many more requests have been decided. Fails where a client met what should not happen."""
        goal = self.answered + count

        async def reached() -> bool | None:
            assert self._running is not None
            if self._running.called:
                await self._running
            return self.answered >= goal or None

        await until(self.cluster.reactor, f"{count} more answers", reached)

    async def try_out(self, node: NodeProcess) -> bool:
        """Whether it serves: one write and one linearizable read, by a client of its own."""
        client = -1 - node.id
        return all(
            [await self._perform(client, node, action) for action in (self._set(self.keys[0]), Get(self.keys[0]))]
        )

    async def read_all(self, node: NodeProcess) -> None:
        """Read every key. Fails where a read is not answered."""
        for key in self.keys:
            assert await self._perform(-1 - node.id, node, Get(key)), f"node {node.id} does not serve {key!r}"

    def operations(self, outcome: Outcome) -> list[Operation]:
        """Those that ended so."""
        return [each for each in self.history.operations() if each.outcome is outcome]

    async def _go_on(self, client: int, node: NodeProcess) -> None:
        choose = random.Random(f"{self.seed} client {client}")
        while not self._stopping:
            answered = await self._perform(client, node, self._next(choose))
            if not answered or choose.random() < WANDERING:
                node = choose.choice(self.cluster.others(node) or [node])
            await deferLater(self.cluster.reactor, PAUSE if answered else SETBACK)

    def _next(self, choose: random.Random) -> Action:
        key = choose.choice(self.keys)
        match choose.choices(("get", "set", "cas", "delete"), (8, 5, 5, 2))[0]:
            case "get":
                return Get(key)
            case "cas" if key in self._seen:
                return CompareAndSet(key, self._seen[key], self._new_value())
            case "delete":
                return Delete(key)
        return self._set(key)

    def _set(self, key: bytes) -> Set:
        return Set(key, self._new_value())

    def _new_value(self) -> bytes:
        """One that nobody else writes."""
        self._values += 1
        return str(self._values).encode()

    async def _perform(self, client: int, node: NodeProcess, action: Action) -> bool:
        """Ask, and write down what came of it. Gives whether the request was decided."""
        path, parameters = _request(action)
        token, began = self.history.begin(client, action), self.cluster.reactor.seconds()
        try:
            answer = await self.cluster.client.ask(node.url(path), parameters, self.patience)
        except (ConnectError, ConnectingCancelledError) as error:  # there was no connection, so nothing was sent
            self.history.not_applied(token)
            self._note(node, began, Outcome.NOT_APPLIED, repr(error), connected=False)
            return False
        except (
            RequestNotSent,
            RequestTransmissionFailed,
            ResponseFailed,
            ConnectionClosed,
            TimeoutError,
        ) as error:
            self.history.unknown(token)
            self._note(node, began, Outcome.UNKNOWN, repr(error))
            return False
        if answer.status == 503:
            assert answer.outcome in ("not-applied", "unknown"), answer
            unknown = answer.outcome == "unknown"
            (self.history.unknown if unknown else self.history.not_applied)(token)
            outcome = Outcome.UNKNOWN if unknown else Outcome.NOT_APPLIED
            self._note(node, began, outcome, answer.body.decode())
            return False
        known = _known(action, answer)
        self.history.ok(token, known)
        self.answered += 1
        if isinstance(known, bytes):
            self._seen[action.key] = known
        elif known is Result.DONE and isinstance(action, Set | CompareAndSet):
            self._seen[action.key] = action.value
        return True

    def _note(self, node: NodeProcess, began: float, outcome: Outcome, why: str, connected: bool = True) -> None:
        now = self.cluster.reactor.seconds()
        self.undecided.append(Undecided(node.id, began, now, outcome, why, connected))


def _request(action: Action) -> tuple[str, dict[str, str]]:
    key = action.key.decode()
    match action:
        case Get():
            return "/get", {"key": key}
        case Set(_, value):
            return "/set", {"key": key, "val": value.decode()}
        case Delete():
            return "/delete", {"key": key}
        case CompareAndSet(_, old, value):
            return "/cas", {"key": key, "old": old.decode(), "val": value.decode()}


def _known(action: Action, answer: Answer) -> Known:
    """What an answer that is not 503 says. AssertionError where the action never has that answer."""
    match action, answer.status:
        case Get(), 200:
            return answer.body
        case Get(), 404:
            return None
        case ((Set() | Delete() | CompareAndSet()), 200):
            return Result.DONE
        case Delete(), 404:
            return Result.NOT_FOUND
        case CompareAndSet(), 409:
            return Result.MISMATCH
    raise AssertionError(f"{action} was answered {answer}")
