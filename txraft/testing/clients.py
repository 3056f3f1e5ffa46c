"""Clients: they set, get, delete and compare-and-set through any node, lose patience, and try again elsewhere."""

from collections.abc import Callable, Sequence
from random import Random

from attrs import define, field, frozen
from twisted.python.failure import Failure

from txraft.errors import NotApplied
from txraft.kv import CompareAndSet, Delete, Set, decode_result
from txraft.testing.data import command_of, key_of
from txraft.testing.history import Action, Get, History, Token
from txraft.testing.invariants import Invariants, Violation
from txraft.testing.machine import Machine
from txraft.testing.schedule import Process, Schedule

ROUND_TRIP = (0.0, 0.002)
"""Seconds that a request, or its answer, takes between a client and a node."""
LARGE = 80
"""Bytes that every tenth value has more than the others: too many for a message, where messages are kept small."""


@frozen
class Read:
    """What a read was answered with."""

    value: bytes | None
    applied: int
    """What the node had applied by then."""


@define(eq=False)
class Ledger:
    """What all clients share: the history, the numbers of the operations, and what must hold of answers."""

    schedule: Schedule
    history: History
    invariants: Invariants
    on_violation: Callable[[Violation], None]
    operations: int = 0
    done: int = 0
    acknowledged: int = 0
    """The highest index of an entry that was acknowledged to anybody."""
    say: Callable[[str, str], None] = lambda _who, _what: None


@define(eq=False)
class Attempt:
    """One request to one node, from when it is sent until the client knows what came of it, or gives up."""

    client: "Client"
    request: Action
    machine: Machine
    number: int
    token: Token
    floor: int
    """What was acknowledged before it began: a read must see that."""
    process: Process | None = None
    over: bool = False

    def send(self) -> None:
        """Send it; a round trip later, or after the client's patience, it is over."""
        schedule = self.client.ledger.schedule
        schedule.after(self.client.travel(), self._reach)
        schedule.after(self.client.patience * (0.5 + self.client.random.random()), self._lose_patience)

    def _reach(self) -> None:
        self.process = self.machine.process
        if self.process is None:
            self._finish(Failure(NotApplied("nobody listens")))
        else:
            self.process.enter(self._ask)

    def _ask(self) -> None:
        machine, request = self.machine, self.request
        self.client.ledger.schedule.steps += 1
        if isinstance(request, Get):
            barrier = machine.replica.read_barrier()
            barrier.addCallback(
                lambda _: Read(machine.data.store.get(request.key), machine.node.applied.index)
            ).addBoth(self._answer)
        else:
            machine.replica.propose(command_of(self.number, request)).addBoth(self._answer)

    def _answer(self, result: object) -> None:
        """The node answers, if it lives to do so."""
        if self.machine.process is self.process and self.machine.may_act():
            self.client.ledger.schedule.after(self.client.travel(), self._finish, result)

    def _lose_patience(self) -> None:
        if not self.over:
            self._finish(None)

    def _finish(self, result: object) -> None:
        if not self.over:
            self.over = True
            self.client.finished(self, result)
        elif isinstance(result, Failure):
            result.trap(Exception)


@define(eq=False)
class Client:
    """One client, with one request under way at a time."""

    name: int
    ledger: Ledger
    machines: Sequence[Machine]
    random: Random
    keys: int
    pause: float
    """Seconds between two requests, on average."""
    patience: float
    """Seconds until it gives up, about."""
    stopped: bool = False
    """Whether it sends nothing new."""
    persistent: bool = False
    """Whether it sends what was not done again, to the same node, until it is."""
    under_way: Attempt | None = None
    failed: list[str] = field(factory=list)
    """What has not been done, since `failed` was cleared last."""
    _known: dict[bytes, bytes] = field(factory=dict)
    """The values that it has seen last, to compare with."""

    def start(self) -> None:
        """Begin with the first request, soon."""
        self.ledger.schedule.after(self.random.expovariate(1 / self.pause), self._next)

    def travel(self) -> float:
        """Seconds that something takes between the client and a node."""
        return ROUND_TRIP[0] + (ROUND_TRIP[1] - ROUND_TRIP[0]) * self.random.random()

    def send(self, request: Action, machine: Machine) -> None:
        """Send a request to a node."""
        ledger = self.ledger
        ledger.operations += 1
        token = ledger.history.begin(self.name, request)
        attempt = Attempt(self, request, machine, ledger.operations, token, ledger.acknowledged)
        self.under_way = attempt
        ledger.say(f"c{self.name}", f"#{attempt.number} {_in_words(request)} -> n{machine.id}")
        attempt.send()

    def _next(self) -> None:
        if self.stopped or self.under_way is not None:
            return
        self.send(self._draw(), self.random.choice(self.machines))

    def _draw(self) -> Action:
        """A request; each value is new."""
        key, chance = key_of(self.random.randrange(self.keys)), self.random.random()
        number = self.ledger.operations + 1
        value = b"v%d" % number + b"." * (0 if number % 10 else LARGE)
        if chance < 0.4:
            return Get(key)
        if chance < 0.7:
            return Set(key, value)
        return Delete(key) if chance < 0.8 else CompareAndSet(key, self._known.get(key, b"?"), value)

    def finished(self, attempt: Attempt, result: object) -> None:
        """An attempt is over: with a result, with a failure, or with None where patience ran out."""
        self.under_way = None
        self.ledger.say(f"c{self.name}", f"#{attempt.number} {_outcome(result)}")
        try:
            self._record(attempt, result)
        except Violation as violation:
            self.ledger.on_violation(violation)
        undone = result is None or isinstance(result, Failure)
        if undone and self.persistent:
            self.failed.clear()
            self.send(attempt.request, attempt.machine)
        elif self.stopped:
            return
        elif undone and self.random.random() < 0.5:
            # Again, elsewhere, as an operation of its own: whoever does so without knowing the outcome may do it twice.
            self.send(attempt.request, self.random.choice(self.machines))
        else:
            self.start()

    def _record(self, attempt: Attempt, result: object) -> None:
        ledger, history = self.ledger, self.ledger.history
        request = attempt.request
        if result is None or isinstance(result, Failure):
            self.failed.append(f"#{attempt.number} {_in_words(request)}: {_outcome(result)}")
        if isinstance(result, Failure) and result.check(NotApplied):
            history.not_applied(attempt.token)
            ledger.invariants.answered_not_applied(attempt.number)
        elif result is None or isinstance(result, Failure):
            history.unknown(attempt.token)
        elif isinstance(result, Read):
            value, applied = result.value, result.applied
            if applied < attempt.floor:
                raise Violation("Stale read", f"#{attempt.number} sees {applied}, acknowledged was {attempt.floor}")
            history.ok(attempt.token, value)
            ledger.done += 1
            self._known[request.key] = value if value is not None else b"?"
        elif isinstance(result, bytes):
            ledger.acknowledged = max(ledger.acknowledged, ledger.invariants.answered_done(attempt.number))
            history.ok(attempt.token, decode_result(result))
            ledger.done += 1
            if isinstance(request, Set | CompareAndSet):
                self._known[request.key] = request.value


def _in_words(request: Action) -> str:
    match request:
        case Get(key):
            return f"get {key.decode()}"
        case Set(key, value):
            return f"set {key.decode()} {value.decode()}"
        case Delete(key):
            return f"delete {key.decode()}"
        case CompareAndSet(key, old, value):
            return f"cas {key.decode()} {old.decode()} {value.decode()}"


def _outcome(result: object) -> str:
    match result:
        case None:
            return "gives up"
        case Failure():
            return f"{type(result.value).__name__}: {result.getErrorMessage()}"
        case b"":
            return "done, with no result"  # as only an entry that is not a command has
        case bytes():
            return decode_result(result).name.lower().replace("_", " ")
        case Read(value):
            return "nothing" if value is None else value.decode()
    return repr(result)
