"""Every key gets a value, before anything is measured: quickly, many keys a request."""

from collections.abc import Iterator
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import FirstError, ensureDeferred, gatherResults
from twisted.web.client import Agent, HTTPConnectionPool

from tests.bench.load import TRIES, Disturbed
from tests.bench.systems import System

MOST_BYTES = 512 * 1024
"""Of keys and values in a request, where it has more than one."""
AT_ONCE = 4
"""Requests under way."""


async def fill(reactor: Any, system: System, keys: int, size: int) -> None:
    """Set keys 1 to `keys` to values of `size` bytes. Raises Disturbed."""
    url = system.url(await system.leader())
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = AT_ONCE
    http = HTTPClient(Agent(reactor, pool=pool))
    chunks = iter(in_chunks(keys, size, system.most_in_a_request))

    async def send() -> None:
        for chunk in chunks:
            path, body = system.set_many(chunk, size)
            for _ in range(TRIES):
                response = await http.post(url + path, json=body)
                answer = await response.text()
                if response.code == 200:
                    break
            else:
                raise Disturbed(f"{system.name} could not be filled: {answer}")

    try:
        await gatherResults([ensureDeferred(send()) for _ in range(AT_ONCE)], consumeErrors=True)
    except FirstError as error:
        error.subFailure.raiseException()
    await pool.closeCachedConnections()


def in_chunks(keys: int, size: int, most: int) -> Iterator[range]:
    """The numbers of all keys, as many at once as a request may have."""
    each = max(1, min(most, MOST_BYTES // size))
    for first in range(1, keys + 1, each):
        yield range(first, min(first + each, keys + 1))
