"""Every key gets a value, before anything is measured."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from twisted.internet.defer import FirstError, ensureDeferred, gatherResults

from tests.bench.connections import Pool
from tests.bench.load import TRIES, Disturbed
from tests.bench.systems import System

MOST_BYTES = 512 * 1024
"""Of keys and values in a request, where it has more than one."""
AT_ONCE = 4
"""Requests under way, where each has many keys."""
SINGLE_AT_ONCE: Final = 64
"""Where each has one."""
PROGRESS: Final = 10
"""Seconds between two lines."""

Request = tuple[int, bytes]
"""How many keys it sets, and what is sent."""


async def fill(reactor: Any, system: System, keys: int, size: int, single: bool = False, told: bool = False) -> None:
    """Set keys 1 to `keys` to values of `size` bytes: quickly, many keys a request, or by a `single` set each, so that
    the log has as many entries. With `told`, say now and then how far it is. Raises Disturbed."""
    done = Progress(reactor, f"{system.name} is filled", keys) if told else lambda _keys: None
    await send(reactor, system, setting(system, numbers_in_order(keys, keys, size, system, single), size), single, done)


async def send(
    reactor: Any, system: System, requests: Iterable[Request], single: bool, done: Callable[[int], None]
) -> None:
    """Send all of them to the leader, some at once, and tell `done` of the keys of each. Raises Disturbed."""
    pool = Pool(reactor, system.url(await system.leader()))
    left = iter(requests)

    async def go_on() -> None:
        for keys, request in left:
            for _ in range(TRIES):
                answer = await pool.ask(request)
                if answer.code == 200:
                    break
            else:
                raise Disturbed(f"{system.name} refused a write: {answer.body.decode(errors='replace')}")
            done(keys)

    sending = gatherResults(
        [ensureDeferred(go_on()) for _ in range(SINGLE_AT_ONCE if single else AT_ONCE)], consumeErrors=True
    )
    try:
        await sending
    except FirstError as error:
        if error.subFailure.check(Disturbed):
            error.subFailure.raiseException()
        raise Disturbed(f"{system.name} was lost: {error.subFailure.getErrorMessage()}") from None
    finally:
        pool.close()


class Progress:
    """Says how far something is, in a line every PROGRESS seconds."""

    def __init__(self, clock: Any, what: str, goal: int) -> None:
        self._clock = clock
        self._what = what
        self._goal = goal
        self._done = 0
        self._said = (clock.seconds(), 0)

    def __call__(self, more: int) -> None:
        self._done += more
        now, (then, before) = self._clock.seconds(), self._said
        if now - then >= PROGRESS:
            rate = (self._done - before) / (now - then)
            print(f"{self._what}: {self._done:,} of {self._goal:,}, {rate:,.0f} a second", flush=True)
            self._said = (now, self._done)


def numbers_in_order(count: int, keys: int, size: int, system: System, single: bool) -> Iterator[range]:
    """The numbers of `count` keys in order, from 1 to `keys` and again, as many at once as a request is to have."""
    while count > 0:
        for chunk in in_chunks(min(count, keys), size, 1 if single else system.most_in_a_request):
            yield chunk
            count -= len(chunk)


def setting(system: System, chunks: Iterable[range], size: int) -> Iterator[Request]:
    """The requests that set them."""
    for chunk in chunks:
        many = len(chunk) > 1
        yield len(chunk), system.set_many(chunk, size) if many else system.set_one(chunk[0], size)


def in_chunks(keys: int, size: int, most: int) -> Iterator[range]:
    """The numbers of all keys, as many at once as a request may have."""
    each = max(1, min(most, MOST_BYTES // size))
    for first in range(1, keys + 1, each):
        yield range(first, min(first + each, keys + 1))
