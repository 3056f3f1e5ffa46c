"""One request from its first attempt to its end, with no sockets and no clock of its own: a coroutine over a
`Transport`.

An attempt goes to the best node that was not asked since the last pause. Where there was no connection, or no answer,
the next one goes to the next node, at once. A pause comes where a node has answered that it cannot decide (the cluster
elects a leader, or has too much to do), and where each node was asked: 50 ms at first, then twice as long each time, up
to a second, less up to half of that by chance, so that not all clients come back together.

Time may be left at the end: a change is not sent again where there is too little for an answer like those before, so
that it is known not to be done.

Whether the request may be done is never forgotten: once an attempt had an unknown outcome, no later refusal takes that
back, and the end without an answer is `OutcomeUnknown` (hazard C5). Attempts of a change share one Idempotency-Key,
which is why there may be a second one (hazard C8).
"""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from typing import Final, Generic, TypeVar
from uuid import UUID

from attrs import define, field
from twisted.logger import Logger

from txraft.addresses import Address
from txraft.client import requests
from txraft.client.http import OTHER_PORT, Transport
from txraft.client.nodes import Nodes
from txraft.client.requests import Kind, Request
from txraft.errors import BadRequest, NoHttpAnswer, NotApplied, OutcomeUnknown, SettingsError, Undecided, Unreachable
from txraft.kv.contents import KeyInfo, Listing

T = TypeVar("T")

TIMEOUT: Final = 10.0
"""Seconds for a request, by default. The package's docstring says what bounds it."""
ATTEMPT_TIMEOUT: Final = 7.0
"""Seconds for one attempt, by default: more than a node's `request_timeout`, 5 s by default, so that a node that runs
says itself what became of it."""
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
"""Seconds."""
SHORTEST_ATTEMPT: Final = 0.1
"""Seconds without which no other attempt begins: it would hardly bring an answer."""
LOOK_TIMEOUT: Final = 1.0
"""Seconds in which a node says its `/status`, for which it needs nobody else."""
LOOK_EVERY: Final = 30.0
"""Seconds between two looks for the leader where nothing fails."""
LOOK_AGAIN: Final = 1.0
"""Seconds to the next look where nobody knew a leader."""

LONGEST_PAGE: Final = 1000
"""Keys of a listing, at most."""

_log = Logger()


@define(eq=False)
class Session:
    """What all requests of one client share."""

    transport: Transport
    nodes: Nodes
    random: Random
    timeout: float = TIMEOUT
    attempt_timeout: float = ATTEMPT_TIMEOUT
    finds_leader: bool = True
    """Whether `/status` is asked for, now and then, so that requests go to the leader at once."""
    _look_at: float = field(default=float("-inf"), init=False)
    """When the next look for the leader is due."""
    _is_looking: bool = field(default=False, init=False)

    async def perform(self, request: Request[T], timeout: float | None = None, key: str | None = None) -> T:
        """Have a request decided within `timeout` seconds. A change has the Idempotency-Key `key`, or one of its own.

        Raises ConditionFailed, BadRequest, NotApplied and OutcomeUnknown, as the package's docstring says."""
        seconds = self.timeout if timeout is None else timeout
        if not seconds > 0:
            raise SettingsError(f"timeout is more than 0 seconds, not {seconds:g}")
        if request.kind is Kind.CHANGE:
            key = self._new_key() if key is None else requests.require_idempotency_key(key)
            request = request.with_header("Idempotency-Key", key)
        return await _Performance(self, request, key, self.transport.now() + seconds).run()

    async def look_for_leader(self, deadline: float) -> None:
        """Where that is due, and nobody does it already, ask one node who the members are, and who leads; another one
        only where the first does not say."""
        now = self.transport.now()
        if not self.finds_leader or self._is_looking or now < self._look_at:
            return
        self._is_looking = True
        try:
            for address in [*self.nodes.in_order(), *self.nodes.unconfirmed()]:
                if await self._learn_from(address, deadline):
                    leader = self.nodes.leader
                    if leader is not None and not self.nodes.may_be_asked(leader):
                        await self._learn_from(leader, deadline)
                    break
        finally:
            self._is_looking = False
            self._look_at = self.transport.now() + (LOOK_AGAIN if self.nodes.leader is None else LOOK_EVERY)

    def failed(self, address: Address) -> None:
        """A node did not do what it was asked for, so that perhaps another one leads."""
        self.nodes.failed(address)
        self._look_at = self.transport.now()

    async def _learn_from(self, address: Address, deadline: float) -> bool:
        left = deadline - self.transport.now()
        if left <= 0:
            return False
        request = requests.status()
        try:
            status = request.result_of(await self.transport.send(address, request.http, min(left, LOOK_TIMEOUT)))
        except (Undecided, BadRequest):
            self.nodes.failed(address)
            return False
        return self.nodes.learn(address, status)

    def _new_key(self) -> str:
        return str(UUID(int=self.random.getrandbits(128), version=4))


@define(eq=False)
class _Performance(Generic[T]):
    """One request, with all its attempts."""

    session: Session
    request: Request[T]
    key: str | None
    """Of a change."""
    deadline: float
    _asked: set[Address] = field(factory=set, init=False)
    """Since the last pause."""
    _pauses: int = field(default=0, init=False)
    _doubt: str | None = field(default=None, init=False)
    """Why it may have been done: what happened to the first attempt of which nobody knows. Never of a read."""
    _was_refused: bool = field(default=False, init=False)
    """Whether a node has answered that nothing was done."""
    _slowest_refusal: float = field(default=0.0, init=False)
    """Seconds that this took at most."""
    _may_be_another_port: bool = field(default=True, init=False)
    """Whether nothing that was asked has answered in HTTP."""
    _reason: str = field(default="", init=False)
    """Why the last attempt came to nothing."""

    async def run(self) -> T:
        """As `Session.perform`."""
        session, request = self.session, self.request
        while True:
            await session.look_for_leader(self.deadline)
            untried = [each for each in session.nodes.in_order(request.wants_leader) if each not in self._asked]
            if not untried:
                await self._pause()
                continue
            address = untried[0]
            limit, began = self._limit(), session.transport.now()
            try:
                result = request.result_of(await session.transport.send(address, request.http, limit))
            except Unreachable as error:
                self._failed(address, error)
            except NotApplied as error:
                self._was_refused = True
                self._slowest_refusal = max(self._slowest_refusal, session.transport.now() - began)
                self._failed(address, error)
                if request.kind is Kind.ONCE:
                    raise
                await self._pause()
            except OutcomeUnknown as error:
                self._failed(address, error)
                if request.kind is not Kind.READ:
                    self._doubt = self._doubt or self._reason
                if request.kind is Kind.ONCE:
                    raise self._given_up() from error
            except BadRequest as error:
                session.nodes.succeeded(address)
                if self._doubt is None:
                    raise
                # It says nothing of the earlier attempt, whose node may have other limits, or be of another version.
                self._reason, self._may_be_another_port = f"{address}: {error}", False
                raise self._given_up() from error
            else:
                session.nodes.succeeded(address)
                return result

    def _limit(self) -> float:
        """Seconds for the next attempt: all that is left, where there is no other node to ask. Raises Undecided."""
        left = self.deadline - self.session.transport.now()
        if left <= 0 or (self._reason and left < self._least()):
            raise self._given_up()
        return left if len(self.session.nodes.in_order()) == 1 else min(left, self.session.attempt_timeout)

    def _least(self) -> float:
        """Seconds that another attempt needs to be of use. One that brings doubt to a change that nobody doubts is not:
        nodes that have waited for a leader before they refused would wait as long again, and be cut off."""
        without_doubt = self.request.kind is Kind.CHANGE and self._doubt is None
        return max(SHORTEST_ATTEMPT, self._slowest_refusal) if without_doubt else SHORTEST_ATTEMPT

    def _failed(self, address: Address, error: Undecided) -> None:
        self._asked.add(address)
        self.session.failed(address)
        self._may_be_another_port &= isinstance(error, NoHttpAnswer)
        self._reason = f"{address}: {error}"
        _log.debug("{path} was not decided by {reason}", path=self.request.path, reason=self._reason)

    async def _pause(self) -> None:
        """Raises Undecided where there is no time for another attempt behind it."""
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._pauses) * (0.5 + self.session.random.random() / 2)
        if self.session.transport.now() + pause + self._least() > self.deadline:
            raise self._given_up()
        await self.session.transport.sleep(pause)
        self._pauses += 1
        self._asked.clear()

    def _given_up(self) -> Undecided:
        """What the time ends with."""
        path = self.request.path
        hint = OTHER_PORT if self._reason and self._may_be_another_port else ""
        if self._doubt is not None:
            again = (
                "" if self.key is None else f"; soon sent again with the Idempotency-Key {self.key}, it is done once"
            )
            last = "" if self._doubt == self._reason else f"; and at last {self._reason}"
            return OutcomeUnknown(f"{path} may have been done, or may yet be: {self._doubt}{last}{hint}{again}")
        kind = NotApplied if self._was_refused else Unreachable
        return kind(f"{path} was not done, and may be sent again: {self._reason or 'there was no time for it'}{hint}")


async def all_keys(
    list_page: Callable[[bytes | None, int], Awaitable[Listing]], limit: int | None
) -> AsyncIterator[KeyInfo]:
    """The first `limit` keys of a listing, or all, asked for page by page: `list_page` gives the keys behind one, so
    many at most."""
    after: bytes | None = None
    left = sys.maxsize if limit is None else limit
    while left > 0:
        listing = await list_page(after, min(left, LONGEST_PAGE))
        for info in listing.keys:
            yield info
        left -= len(listing.keys)
        if not (listing.more and listing.keys):
            return
        after = listing.keys[-1].key
