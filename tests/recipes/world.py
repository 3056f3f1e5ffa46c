"""Programs that share a lock, on a clock that is turned by hand: each has a clock of its own, and a way to the object
that loses and delays what it is told to."""

from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.clock import Clock
from txraft import NotApplied, OutcomeUnknown
from txraft.objects.commands import Commands
from txraft.objects.encoding import CONVERTER, pack, unpack
from txraft.objects.writing import writer
from txraft.recipes import Held, Lock, Locks, Loss

STEP = 0.125
"""Seconds by which time goes on: a sum of them is exact."""


@frozen
class Fate:
    """What becomes of one request."""

    applied: float | None = 0.0
    """After how many seconds it takes effect, or is read; None: never."""
    answered: float = 0.0
    """After how many it is answered. It is unknown then, if it has not taken effect yet."""
    is_told: bool = True
    """Whether the answer says what became of it."""


DONE = Fate()
REFUSED = Fate(applied=None)
FORGOTTEN = Fate(applied=None, is_told=False)
"""It never takes effect, and that is not known."""
UNHEARD = Fate(is_told=False)
"""It takes effect, and that is not known."""


class World:
    """The object, and the time."""

    def __init__(self, kind: type[Locks] = Locks) -> None:
        self.clock = Clock()
        self.object = kind()
        self.commands = Commands(kind)
        self.programs: list[Program] = []

    def program(self, **more: Any) -> "Program":
        """One more."""
        self.programs.append(Program(self, len(self.programs), **more))
        return self.programs[-1]

    def run(self, seconds: float) -> None:
        """Let time go on."""
        for _ in range(round(seconds / STEP)):
            self.clock.advance(STEP)
            for program in self.programs:
                program.time_goes_on()

    def restart(self) -> None:
        """All servers at once. What had not taken effect does not, and what was under way is not known; and of the
        object, there is what is kept."""
        for program in self.programs:
            program.service.restarted()
        kind = type(self.object)
        self.object = CONVERTER.structure(unpack(pack(writer(kind)(self.object))), kind)

    def holding(self) -> "list[Program]":
        """Who runs, and has not been told that it has lost the lock."""
        return [each for each in self.programs if not each.is_paused and each.held and each.loss is None]


@define(eq=False)
class Service:
    """As an ObjectService, of one program."""

    world: World
    program: "Program"
    fate: Fate = DONE
    """Of what has none of its own."""
    fates: deque[Fate] = field(factory=deque)
    """Of the next requests."""
    called: list[str] = field(factory=list)
    """The commands, by name."""
    _under_way: dict[Deferred[Any], Any] = field(factory=dict)
    """What is not answered, each with what may yet take effect."""

    def call(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Deferred[Any]":
        """As ObjectService. Its bytes are what takes effect."""
        found = self.world.commands.of(method)
        data = found.encode(args, kwargs)
        self.called.append(method.__name__)

        def apply() -> Any:
            _, arguments = self.world.commands.decode(data)
            return found.result_of(found.apply(self.world.object, arguments))

        return self._asked(apply, OutcomeUnknown)

    def query(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Deferred[Any]":
        """As ObjectService."""
        return self._asked(lambda: method(self.world.object, *args, **kwargs), NotApplied)

    def _asked(self, apply: Callable[[], Any], error: type[Exception]) -> "Deferred[Any]":
        fate = self.fates.popleft() if self.fates else self.fate
        done: Deferred[Any] = Deferred()
        results: list[Any] = []
        later = None
        if fate.applied is not None:
            later = self.world.clock.callLater(fate.applied, lambda: results.append(apply()))
        self._under_way[done] = later

        def answer() -> None:
            if self._under_way.pop(done, self) is self:
                return
            if fate.applied is None and fate.is_told:
                self.program.hears(done, Failure(NotApplied("not now")))
            elif results and fate.is_told:
                self.program.hears(done, results[0])
            else:
                self.program.hears(done, Failure(error("who knows")))

        self.world.clock.callLater(fate.answered, answer)
        return done

    def restarted(self) -> None:
        """What was under way does not take effect, if it has not, and nobody knows."""
        under_way, self._under_way = self._under_way, {}
        for done, later in under_way.items():
            if later is not None and later.active():
                later.cancel()
            self.program.hears(done, Failure(OutcomeUnknown("restarted")))


class Program:
    """One that wants the lock."""

    def __init__(self, world: World, number: int, rate: float = 1.0, lease: float = 3.0, poll: float = 0.5) -> None:
        """`rate` is how many of its seconds are in one."""
        self.clock = Clock()
        self.clock.rightNow = 1e9 * (number + 1)
        self.service = Service(world, self)
        names = iter(range(1_000_000))
        self.lock = Lock(
            self.clock,
            self.service,
            "name",
            lease,
            poll=poll,
            who=f"program {number}",
            random_bytes=lambda count: b"%d %d" % (number, next(names)) + bytes(count),
        )
        self.is_paused = False
        self.held: Held | None = None
        self.loss: Loss | None = None
        """Of the lock that it had last."""
        self.tokens: list[int] = []
        self.errors: list[Failure] = []
        self.acquiring: Deferred[Any] | None = None
        self._rate = rate
        self._behind = 0.0
        self._on_got: Callable[[int], None] = lambda _: None

    def when_got(self, tell: Callable[[int], None]) -> None:
        """Whom to tell of each token."""
        self._on_got = tell

    def acquire(self) -> None:
        """Ask for the lock, unless it is asked for or held."""
        if self.acquiring is None and (self.held is None or self.loss is not None):
            self.acquiring = self.lock.acquire()
            self.acquiring.addCallbacks(self._got, self.errors.append).addBoth(self._ended)

    def cancel(self) -> None:
        """Ask no more."""
        if self.acquiring is not None:
            self.acquiring.cancel()

    def release(self) -> None:
        """Give it back, if it is held."""
        if self.held is not None and self.loss is None:
            self.held.release()

    def time_goes_on(self) -> None:
        """By a step."""
        self._behind += STEP * self._rate
        self.pause(self.is_paused)

    def pause(self, is_paused: bool) -> None:
        """Stop the process; or let it go on, with what has become due."""
        self.is_paused = is_paused
        if not is_paused:
            behind, self._behind = self._behind, 0.0
            self.clock.advance(behind)

    def hears(self, done: "Deferred[Any]", answer: Any) -> None:
        """An answer has come to its machine."""
        self.clock.callLater(0, done.callback, answer)

    def _got(self, held: Held) -> None:
        self.held, self.loss = held, None
        self.tokens.append(held.token)
        self._on_got(held.token)
        held.lost.addCallback(self._lost)

    def _lost(self, loss: Loss) -> None:
        self.loss = loss

    def _ended(self, _: object) -> None:
        self.acquiring = None
