"""A lock that one program of many holds, with a fencing token and a lease.

    lock = Lock(reactor, service, "nightly")             # of an object that has `Locks`
    async with await lock.acquire() as held:
        held.lost.addCallback(lambda loss: stop_work())
        await storage.write(data, token=held.token)

**The lease.** The holder renews each third of its lease. It counts from when it *sent* the last request that was
acknowledged, and says `lost` at the end of the lease by its own clock, without asking anybody. Who waits looks on: each
renewal changes a number. Once it has seen the same number for the holder's lease and a tenth more, by its own clock, it
asks to take over from just that number. If the holder has renewed in the meantime, that changes nothing. What it saw,
the holder had sent before; so the holder has said `lost` by then, if the rates of the two clocks differ by less than a
tenth. What time they show does not matter, and commands ask no clock.

**What a paused holder may still do.** A lease is kept by a process that runs. One that is stopped for longer (a full
machine, a debugger, a virtual machine that is moved) has lost the lock without knowing it until it goes on. What it was
about to send, it sends then; what it had sent may arrive then. A machine that sleeps may stop its clock, too. No lock
can prevent that. **The token does**: each holder's is higher than all before, and is sent along with all that is done
under the lock. What is written to remembers the highest that it has seen, and refuses a lower one. Where it cannot do
that, work under a lock may overlap, and has to be such that this does no harm. `held.is_held`, asked just before each
step, makes that rare, and does not rule it out.

Others leave this to the program. kazoo's Lock goes on saying `is_acquired` when its session is lost: one has to listen
to the states of the connection, and it gives no token. etcd's lock could be given to a client whose own lease had
ended while it waited (etcd #11456, found by Jepsen), and two can be at work at a time (etcd #10811): one is to check
the revision of the lock's key oneself. Here a lock whose lease is over when the answer comes is not given, `lost` comes
by itself, and the token is in the hand.

**Outcomes that are unknown.** Each acquire has an id of its own, 128 random bits, so that all it asks for can be asked
again. An acquire that finds that it has the lock already, by an earlier request, renews it, and counts from when it
asked for that. A renewal that takes effect late makes others wait longer. A release that does so finds another holder,
and changes nothing. An acquire that does so, after it was given up and given back, leaves a lock that nobody renews:
the others wait for one lease. (kazoo's stays taken for as long as the session lives: kazoo #732.)

**The clock** is the reactor's, and Twisted's reactors go by the time of day. When somebody sets that ahead, who waits
takes over too early; when it is set back, a holder learns too late that it has lost the lock. So let the reactor go by
a clock that nobody sets, before anything is started, as `twistd txraft` does: `txraft.run_on_monotonic_time(reactor)`.
"""

import enum
import math
from collections.abc import Callable
from functools import partial
from os import urandom
from typing import Any, Final, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from txraft import NotApplied, OutcomeUnknown, TxraftError
from txraft.recipes.calls import Calls
from txraft.recipes.locks import Holding, Locks

T = TypeVar("T")

PATIENCE: Final = 1.1
"""How many leases of the holder who waits lets pass: clocks need not run at the very same rate."""

_log = Logger()


class Loss(enum.Enum):
    """Why a lock is not held any more."""

    RELEASED = "released"
    """It was given back."""
    EXPIRED = "expired"
    """No renewal was acknowledged within the lease."""
    TAKEN = "taken"
    """Somebody else has it, though the lease is not over: the clocks do not run at the same rate, or it was released in
    the holder's name."""


class Lock:
    """One lock, as one program uses it. It keeps nothing: a second acquire waits for the first, as for any other."""

    def __init__(
        self,
        reactor: Any,
        service: Calls[Locks],
        name: str,
        lease: float = 10.0,
        *,
        who: str = "",
        poll: float = 0.5,
        random_bytes: Callable[[int], bytes] = urandom,
    ) -> None:
        """`service` replicates an object that has `Locks`, and `name` is which of its locks. `lease`, in seconds, is
        how long a holder that is gone is waited for, and how long a holder can do without a majority: several times the
        longest pause and the longest election. `who` is shown to others. Who waits looks each `poll` seconds.
        Raises ValueError."""
        for what, seconds in (("lease", lease), ("poll", poll)):
            if not (isinstance(seconds, int | float) and math.isfinite(seconds) and seconds > 0):
                raise ValueError(f"{what}: is a number of seconds above 0, not {seconds!r}")
        self._service = service
        self._name = name
        self._claim = partial(_Claim, reactor, service, name, who, float(lease), poll)
        self._random_bytes = random_bytes

    def acquire(self) -> "Deferred[Held]":
        """Wait for the lock. Fires with it, and never with one of which the lease is over already.

        It goes on until then, also where there is no majority for hours. To end it, cancel it, or `addTimeout`: the
        lock is given back then, if it had come or comes yet. It is not fair: the first that looks when the lock is free
        has it, and who releases it and asks again at once is mostly first. Fails with what else the service fails
        with."""
        return Deferred.fromCoroutine(self._claim(self._random_bytes(16).hex()).win())

    def holder(self) -> "Deferred[Holding | None]":
        """Who has it. One that is gone is there until another takes over. Fails with NotApplied."""
        return self._service.query(Locks.lock_of, self._name)


class Held:
    """A lock that is held, until `lost`."""

    def __init__(self, claim: "_Claim", token: int, sent: float) -> None:
        """`sent` is when the request was sent that got it."""
        self.token = token
        """The fencing token: higher than that of any earlier holder."""
        self._claim = claim
        self._clock = claim.clock
        self._until = sent + claim.lease
        self._loss: Loss | None = None
        self._told: list[Deferred[Loss]] = []
        self._given_back: Deferred[None] = succeed(None)
        since_sent = self._clock.seconds() - sent
        self._expiry = self._clock.callLater(max(0.0, claim.lease - since_sent), self._end, Loss.EXPIRED)
        self._next_renewal = self._clock.callLater(max(0.0, claim.lease / 3 - since_sent), self._renew)

    async def __aenter__(self) -> "Held":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.release()

    @property
    def is_held(self) -> bool:
        """Whether it is held now, by this process's clock. It may be over a moment later: `txraft.recipes.lock` says
        what the token is for."""
        return self._loss is None and self._clock.seconds() < self._until

    @property
    def lost(self) -> "Deferred[Loss]":
        """Fires when it is not held any more, with the reason; at once, where that is so. A Deferred of one's own each
        time, to be cancelled or awaited as one likes."""
        told: Deferred[Loss] = Deferred()
        if self._loss is None:
            self._told.append(told)
        else:
            told.callback(self._loss)
        return told

    def release(self) -> "Deferred[None]":
        """Hold it no more, from now on: `lost` fires at once. The Deferred that it gives fires when it has been given
        back, or, where that cannot be known, when others can take it over without. It does not fail."""
        self._end(Loss.RELEASED)
        given_back: Deferred[None] = Deferred()
        self._given_back.addCallback(given_back.callback)
        return given_back

    def _renew(self) -> None:
        sent = self._clock.seconds()
        self._next_renewal = self._clock.callLater(self._claim.lease / 3, self._renew)
        renewal = self._claim.renew().addCallback(self._renewed, sent).addErrback(_tried_again_later)
        renewal.addErrback(lambda failure: _log.failure("a lock is not renewed", failure=failure))

    def _renewed(self, is_ours: bool, sent: float) -> None:
        if self._loss is not None:
            return
        if not is_ours:
            self._end(Loss.TAKEN)
            return
        self._until = max(self._until, sent + self._claim.lease)
        self._expiry.reset(max(0.0, self._until - self._clock.seconds()))

    def _end(self, loss: Loss) -> None:
        if self._loss is not None:
            return
        self._loss = loss
        for timer in (self._expiry, self._next_renewal):
            if timer.active():
                timer.cancel()
        if loss is not Loss.TAKEN:
            self._given_back = self._claim.give_back()
        told, self._told = self._told, []
        for each in told:
            each.callback(loss)


def _tried_again_later(failure: Any) -> None:
    failure.trap(TxraftError)


@define
class _Watch:
    """What who waits has seen."""

    clock: IReactorTime
    seen: Holding | None = None
    since: float = 0.0
    """When `seen` was seen first, at the latest: it was sent before."""

    def see(self, current: Holding | None) -> None:
        """Somebody holds the lock so, or nobody does."""
        if current != self.seen:
            self.seen, self.since = current, self.clock.seconds()

    @property
    def is_over(self) -> bool:
        """Whether the holder has said `lost` by now."""
        return self.seen is not None and self.clock.seconds() - self.since >= self.seen.lease * PATIENCE


@define(eq=False)
class _Claim:
    """One acquire, and what becomes of it."""

    clock: IReactorTime
    service: Calls[Locks]
    name: str
    who: str
    lease: float
    poll: float
    holder: str
    _asked: "Deferred[None] | None" = field(init=False, default=None)
    """Fires when the last request for the lock is answered, whatever it was answered."""
    _open: int = field(init=False, default=0)
    """How many of the requests may have got the lock, or may yet."""

    async def win(self) -> Held:
        """Wait for the lock."""
        try:
            return await self._won()
        except BaseException:  # CancelledError too
            self.give_back()
            raise

    def renew(self) -> "Deferred[bool]":
        """Say that the holder is there."""
        return self.service.call(Locks.renew_lock, self.name, self.holder)

    def give_back(self) -> "Deferred[None]":
        """Let others have it, if this acquire has it or comes to have it. Does not fail."""
        given_back = Deferred.fromCoroutine(self._give_back())
        return given_back.addErrback(lambda failure: _log.failure("a lock is not given back", failure=failure))

    async def _won(self) -> Held:
        watch = _Watch(self.clock)
        is_ours = is_known = True  # worth a try, before anybody is looked for
        while True:
            try:
                if is_known and (is_ours or watch.is_over):
                    sent = self.clock.seconds()
                    current: Holding | None = await self._ask(watch.seen if watch.is_over else None)
                    if current and current.holder == self.holder and self.clock.seconds() < sent + self.lease:
                        return Held(self, current.token, sent)
                else:
                    current = await self.service.query(Locks.lock_of, self.name)
                watch.see(current)
                is_known, is_ours = True, current is None or current.holder == self.holder
            except (NotApplied, OutcomeUnknown):
                is_known = False
            if not (is_known and is_ours):
                await deferLater(self.clock, self.poll)

    def _ask(self, instead_of: Holding | None) -> "Deferred[Holding]":
        """Ask for the lock. To cancel it is not to listen: the request goes on, and `_asked` fires with its answer."""
        answer = self.service.call(Locks.acquire_lock, self.name, self.holder, self.who, self.lease, instead_of)
        self._open += 1
        heard: Deferred[Holding] = Deferred()
        self._asked = answer.addBoth(self._answered).addCallbacks(heard.callback, heard.errback)
        return heard

    def _answered(self, answer: Holding | Failure) -> Holding | Failure:
        if answer.check(NotApplied) if isinstance(answer, Failure) else answer.holder != self.holder:
            self._open -= 1
        return answer

    async def _give_back(self) -> None:
        if self._asked is not None:
            await self._asked
        until = self.clock.seconds() + self.lease * PATIENCE
        while self._open:
            try:
                await self.service.call(Locks.release_lock, self.name, self.holder)
                return
            except (NotApplied, OutcomeUnknown):
                if self.clock.seconds() + self.poll >= until:
                    return
            await deferLater(self.clock, self.poll)
