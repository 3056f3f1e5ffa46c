"""Clients: they propose and read through any node, lose patience, and try again elsewhere.

Of the key-value store they set, get, delete and compare-and-set keys, and what they are told is a history. Some give
a request an Idempotency-Key, and send it again until it is answered: that is one operation (hazard C5). Some change two
keys at once, which nobody reads: the nodes' states are compared (hazard S17). Of any other application they propose its
commands and wait for barriers, and answers are held to what the log decided.
"""

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from attrs import define, field
from twisted.python.failure import Failure

from txraft.errors import CommandFailed, NotApplied, OutcomeUnknown
from txraft.kv import Batch, Command, CompareAndSet, Delete, Once, Result, Set, decode_result
from txraft.testing.application import Application
from txraft.testing.data import command_of, key_of, numbered
from txraft.testing.history import Action, Change, Get, History, Token
from txraft.testing.invariants import Invariants
from txraft.testing.machine import Machine
from txraft.testing.requests import Both, Keyed, Look, Propose, Read, Request
from txraft.testing.schedule import Process, Schedule
from txraft.testing.sequential import Call, Raised
from txraft.testing.violation import Violation

ROUND_TRIP = (0.0, 0.002)
"""Seconds that a request, or its answer, takes between a client and a node."""
PAIR = (b"left", b"right")
"""Keys that change together."""
LATE = 4 * ROUND_TRIP[1]
"""Seconds after the time limit of a request by which its answer must be there."""


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
    """The highest index of an entry that was acknowledged to anybody, or was applied when somebody read."""
    say: Callable[[str, str], None] = lambda _who, _what: None
    request_timeout: float = math.inf
    """Seconds within which every node that runs undisturbed answers."""
    large: int = 200
    """Bytes that every tenth value has more than the others."""

    def judge_failure(self, number: int, result: object) -> None:
        """A request was refused, or not known what became of it: the two things that may happen. Raises Violation."""
        if isinstance(result, Failure):
            if result.check(NotApplied):
                self.invariants.answered_not_applied(number)
            elif result.check(OutcomeUnknown) is None:
                raise Violation("Answers", f"#{number} is answered with {result.getTraceback()}")

    def judge_time(self, number: int, began: float, process: Process | None) -> None:
        """A request was not answered, up to now. Raises Violation."""
        if process is None or not process.alive or process.disturbed > began:
            return
        if self.schedule.now - began > self.request_timeout + LATE:
            raise Violation("Time limit", f"#{number} has no answer since {began:.6f}, and the node is well")


@define(eq=False)
class Attempt:
    """One request to one node, from when it is sent until the client knows what came of it, or gives up."""

    client: "Client"
    request: Request
    machine: Machine
    number: int
    token: Token | None
    """None where the request is none of a history."""
    floor: int
    """What had been acknowledged, or read, before it began: a read must see that."""
    began: float = field(init=False)
    process: Process | None = None
    over: bool = False

    def send(self) -> None:
        """Send it; a round trip later, or after the client's patience, it is over."""
        schedule = self.client.ledger.schedule
        self.began = schedule.now
        schedule.after(self.client.travel(), self._reach)
        schedule.after(self.client.patience * (0.5 + self.client.random.random()), self._lose_patience)

    def _reach(self) -> None:
        self.process = self.machine.process
        if self.process is None:
            self._finish(Failure(NotApplied("nobody listens")))
        else:
            self.process.enter(self._ask)

    def _ask(self) -> None:
        replica = self.machine.replica
        self.client.ledger.schedule.steps += 1
        match self.request:
            case Get() | Look():
                replica.read_barrier().addCallback(self._read).addBoth(self._answer)
            case Propose(command):
                replica.propose(numbered(self.number, command)).addBoth(self._answer)
            case change:
                replica.propose(command_of(self.number, _command_of(change))).addBoth(self._answer)

    def _read(self, _: None) -> Read:
        machine = self.machine
        inner, value = machine.state_machine.inner, None
        match self.request:
            case Get(key):
                value = inner.get(key)
            case Look(Call() as call):
                value = call.on(inner.object)
        return Read(value, machine.node.applied.index)

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
        else:
            self.client.finished_late(self, result)


@define(eq=False)
class Client:
    """One client, with one request under way at a time."""

    name: int
    ledger: Ledger
    machines: Sequence[Machine]
    random: Random
    draw: "Callable[[Client], Request]"
    """What it asks for next."""
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
    known: dict[bytes, bytes] = field(factory=dict)
    """The values of keys that it has seen last, to compare with."""

    def start(self) -> None:
        """Begin with the first request, soon."""
        self.ledger.schedule.after(self.random.expovariate(1 / self.pause), self._next)

    def travel(self) -> float:
        """Seconds that something takes between the client and a node."""
        return ROUND_TRIP[0] + (ROUND_TRIP[1] - ROUND_TRIP[0]) * self.random.random()

    def send(self, request: Request, machine: Machine, repeated: Token | None = None) -> None:
        """Send a request to a node, perhaps as part of an operation that it is `repeated` for."""
        ledger = self.ledger
        ledger.operations += 1
        token = repeated if repeated is not None else self._begin(request)
        attempt = Attempt(self, request, machine, ledger.operations, token, ledger.acknowledged)
        self.under_way = attempt
        ledger.say(f"c{self.name}", f"#{attempt.number} {_in_words(request)} -> n{machine.id}")
        attempt.send()

    def _begin(self, request: Request) -> Token | None:
        action = _action_of(request)
        return self.ledger.history.begin(self.name, action) if action is not None else None

    def _next(self) -> None:
        if self.stopped or self.under_way is not None:
            return
        self.send(self.draw(self), self.random.choice(self.machines))

    def _repeat(self, attempt: Attempt) -> None:
        if not self.stopped:
            self.send(attempt.request, self.random.choice(self.machines), attempt.token)

    def finished(self, attempt: Attempt, result: object) -> None:
        """An attempt is over: with a result, with a failure, or with None where patience ran out."""
        self.under_way = None
        self.ledger.say(f"c{self.name}", f"#{attempt.number} {_outcome(result)}")
        try:
            self._record(attempt, result)
        except Violation as violation:
            self.ledger.on_violation(violation)
        undone = result is None or _undone(result)
        if undone and self.persistent:
            self.failed.clear()
            self.send(attempt.request, attempt.machine)
        elif self.stopped:
            return
        elif undone and isinstance(attempt.request, Keyed):
            self.ledger.schedule.after(self.random.expovariate(1 / self.pause), self._repeat, attempt)
        elif undone and self.random.random() < 0.5:
            # Again, elsewhere, as an operation of its own: whoever does so without knowing the outcome may do it twice.
            self.send(attempt.request, self.random.choice(self.machines))
        else:
            self.start()

    def finished_late(self, attempt: Attempt, result: object) -> None:
        """The answer to what this client had given up. It must still be true."""
        try:
            self._judge(attempt, result)
        except Violation as violation:
            self.ledger.on_violation(violation)

    def _record(self, attempt: Attempt, result: object) -> None:
        ledger, history, token = self.ledger, self.ledger.history, attempt.token
        request = attempt.request
        if undone := result is None or _undone(result):
            self.failed.append(f"#{attempt.number} {_in_words(request)}: {_outcome(result)}")
        if result is None:
            ledger.judge_time(attempt.number, attempt.began, attempt.process)
        done_by = self._judge(attempt, result)
        ledger.done += not undone
        ledger.acknowledged = max(ledger.acknowledged, done_by)
        if token is None:
            return
        if undone and isinstance(request, Keyed):
            pass  # it is sent again, as the same operation, or the outcome stays unknown
        elif isinstance(result, Failure) and result.check(NotApplied):
            history.not_applied(token)
        elif undone:
            history.unknown(token)
        elif isinstance(request, Propose | Look):
            history.ok(token, _answer_of(request, result))
        elif isinstance(result, Read):
            assert isinstance(request, Get)
            history.ok(token, result.value)
            self.known[request.key] = result.value if result.value is not None else b"?"
        elif isinstance(result, bytes):
            history.ok(token, decode_result(result))
            action = _action_of(request)
            if isinstance(action, Set | CompareAndSet):
                self.known[action.key] = action.value

    def _judge(self, attempt: Attempt, result: object) -> int:
        """Hold the answer to what the log decided. Gives back what was applied by then. Raises Violation."""
        ledger, number = self.ledger, attempt.number
        if isinstance(result, Read):
            if result.applied < attempt.floor:
                raise Violation("Stale read", f"#{number} sees {result.applied}, acknowledged was {attempt.floor}")
            return result.applied
        if isinstance(result, bytes):
            return ledger.invariants.answered_done(number, result, attempt.floor)
        if isinstance(result, Failure) and result.check(CommandFailed):
            return ledger.invariants.answered_done(number, result.getErrorMessage(), attempt.floor)
        ledger.judge_failure(number, result)
        return 0


def ask_for_keys(keys: int, client: Client) -> Request:
    """What a client of the key-value store asks for, of so many keys; each value is new."""
    random, ledger = client.random, client.ledger
    key, chance = key_of(random.randrange(keys)), random.random()
    number = ledger.operations + 1
    value = b"v%d" % number + b"." * (0 if number % 10 else ledger.large)
    if chance < 0.4:
        return Get(key)
    if chance < 0.45:
        return Both(value)
    if chance < 0.7:
        change: Change = Set(key, value)
    else:
        change = Delete(key) if chance < 0.8 else CompareAndSet(key, client.known.get(key, b"?"), value)
    return Keyed(b"i%d" % number, change) if random.random() < 0.2 else change


def ask_for_any(application: Application, client: Client) -> Request:
    """What a client of any application asks for."""
    return Look() if client.random.random() < 0.4 else proposal_of(application, client.random)


def proposal_of(application: Application, random: Random) -> Propose | Look:
    """A command, or a query, that the application draws. Raises Violation where it is neither."""
    drawn = application.command(random)
    if isinstance(drawn, Propose | Look):
        return drawn
    if not isinstance(drawn, bytes):
        raise Violation("Commands", f"`Application.command` gives {type(drawn).__name__}, not bytes: {drawn!r}")
    return Propose(drawn)


def _answer_of(request: Propose | Look, result: object) -> Any:
    """What the caller got, of what was done or has failed."""
    match request, result:
        case _, Failure(value=error):
            return Raised(str(error))
        case Propose(answer_of=answer_of), bytes():
            return answer_of(result)
        case Look(), Read(value):
            return value
    raise AssertionError(f"{request} was answered with {result!r}")


def _undone(result: object) -> bool:
    """Whether it is a failure that is not what came of the command itself."""
    return isinstance(result, Failure) and result.check(CommandFailed) is None


def _action_of(request: Request) -> Action | Call | None:
    """What the history knows of a request."""
    match request:
        case Keyed(_, change):
            return change
        case Propose(call=call) | Look(call):
            return call
        case Both():
            return None
    return request


def _command_of(change: Change | Keyed | Both) -> Command:
    match change:
        case Keyed(key, keyed):
            return Once.of(key, keyed)
        case Both(value):
            return Batch(tuple(Set(key, value) for key in PAIR), max_answer=0)
    return change


def _in_words(request: Request) -> str:
    match request:
        case Propose(call=Call() as call) | Look(Call() as call):
            words = str(call)
        case Propose(command):
            words = f"propose {command!r}"
        case Keyed(key, change):
            words = f"{_in_words(change)}, with key {key.decode()}"
        case Both(value):
            words = f"set both {_short(value)}"
        case Look():
            words = "look"
        case Get(key):
            words = f"get {key.decode()}"
        case Set(key, value):
            words = f"set {key.decode()} {_short(value)}"
        case Delete(key):
            words = f"delete {key.decode()}"
        case CompareAndSet(key, old, value):
            words = f"cas {key.decode()} {_short(old)} {_short(value)}"
    return words


def _short(value: bytes) -> str:
    return value.decode() if len(value) <= 20 else f"{value[:20].decode()}... ({len(value)} bytes)"


def _outcome(result: object) -> str:
    match result:
        case None:
            return "gives up"
        case Failure():
            return f"{type(result.value).__name__}: {result.getErrorMessage()}"
        case bytes():
            known = {each.value: each.name for each in Result}
            return known[result].lower().replace("_", " ") if result in known else f"done: {result!r}"
        case Read(value):
            return "nothing" if value is None else _short(value) if isinstance(value, bytes) else repr(value)
    return repr(result)
