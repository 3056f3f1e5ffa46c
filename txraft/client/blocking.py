"""The client for programs that block: the same session as `txraft.client.asynchronous`, whose coroutines never wait."""

from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from random import SystemRandom
from types import TracebackType
from typing import Self, TypeVar

from txraft.addresses import Address
from txraft.client import requests
from txraft.client.blocking_transport import BlockingTransport
from txraft.client.nodes import Nodes, addresses_of
from txraft.client.operations import Bytes, Operation, OperationResult
from txraft.client.requests import Consistency, NodeStatus, Request, Revisions, Value
from txraft.client.session import ATTEMPT_TIMEOUT, TIMEOUT, Session, all_keys
from txraft.kv.contents import KeyInfo, Listing
from txraft.statuses import Members

T = TypeVar("T")


class BlockingClient:
    """A client of the cluster that the nodes at `nodes`, each host:port of an HTTP API, belong to.

    `timeout` is the seconds for a request with all its attempts, which each method may be given, too, and
    `attempt_timeout` those for one attempt. With `finds_leader=False`, only the nodes given are asked, in their order.

    Every method may raise NotApplied, a change OutcomeUnknown too, and BadRequest: see `txraft.client`. Several threads
    may use one client. As a context manager, it is closed at the end.
    """

    def __init__(
        self,
        *nodes: Address | str,
        timeout: float = TIMEOUT,
        attempt_timeout: float = ATTEMPT_TIMEOUT,
        finds_leader: bool = True,
    ) -> None:
        self._transport = BlockingTransport()
        known = Nodes(addresses_of(nodes), self._transport.now)
        self._session = Session(self._transport, known, SystemRandom(), timeout, attempt_timeout, finds_leader)

    def get(self, key: Bytes, *, consistency: Consistency = "latest", timeout: float | None = None) -> Value | None:
        """The value of a key, and its revision; None where there is none. `stale`: what the first of the nodes that
        answers has just now."""
        return self._perform(requests.get(key, consistency), timeout)

    def set(
        self,
        key: Bytes,
        value: Bytes,
        *,
        if_match: Revisions | None = None,
        if_none_match: Revisions | None = None,
        timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Give a key a value: only where its revision is one of `if_match`, and none of `if_none_match`. `ANY` is any
        revision, so `if_none_match=ANY` wants that there is no such key. Raises ConditionFailed."""
        self._perform(requests.set(key, value, if_match, if_none_match), timeout, idempotency_key)

    def delete(
        self,
        key: Bytes,
        *,
        if_match: Revisions | None = None,
        if_none_match: Revisions | None = None,
        timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> bool:
        """Remove a key, on conditions as those of `set`. Gives whether there was one."""
        return self._perform(requests.delete(key, if_match, if_none_match), timeout, idempotency_key)

    def cas(
        self,
        key: Bytes,
        old: Bytes,
        value: Bytes,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> bool:
        """Give a key a value where it has the value `old`. Gives whether it had."""
        return self._perform(requests.cas(key, old, value), timeout, idempotency_key)

    def batch(
        self, operations: Iterable[Operation], *, timeout: float | None = None, idempotency_key: str | None = None
    ) -> list[OperationResult]:
        """Do all of this, in this order, as one change. Gives the result of each. Raises ConditionFailed where a Cas
        does not compare: then nothing is done."""
        return self._perform(requests.batch(operations), timeout, idempotency_key)

    def keys(
        self,
        prefix: Bytes = b"",
        *,
        limit: int | None = None,
        consistency: Consistency = "latest",
        timeout: float | None = None,
    ) -> Iterator[KeyInfo]:
        """The first `limit` keys that begin with `prefix`, or all, in order, asked for page by page as they are used.
        Each page is as of a moment of its own. `timeout` is for each page."""

        async def page(after: bytes | None, most: int) -> Listing:
            return await self._session.perform(requests.list_keys(prefix, after, most, consistency), timeout)

        return _each(all_keys(page, limit))

    def list_keys(
        self,
        prefix: Bytes = b"",
        *,
        after: Bytes | None = None,
        limit: int | None = None,
        consistency: Consistency = "latest",
        timeout: float | None = None,
    ) -> Listing:
        """One page: the first keys behind `after` that begin with `prefix`, at most `limit`, or 1,000."""
        return self._perform(requests.list_keys(prefix, after, limit, consistency), timeout)

    def status(self, *, timeout: float | None = None) -> NodeStatus:
        """How the node is doing that answers."""
        return self._perform(requests.status(), timeout)

    def members(self, *, consistency: Consistency = "latest", timeout: float | None = None) -> Members:
        """Who belongs to the cluster."""
        return self._perform(requests.members(consistency), timeout)

    def transfer(self, to: int, *, timeout: float | None = None) -> None:
        """Make node `to` lead. Sent once: raises NotApplied and OutcomeUnknown with what the node said."""
        self._perform(requests.transfer(to), timeout)

    def close(self) -> None:
        """Close the connections that are kept. A request that is made later makes new ones."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _perform(self, request: Request[T], timeout: float | None, key: str | None = None) -> T:
        return _run(self._session.perform(request, timeout, key))


def _run(awaitable: Awaitable[T]) -> T:
    """The result of what waits for nothing."""
    steps = awaitable.__await__()
    try:
        next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("a blocking transport has let its caller wait")


def _each(values: AsyncIterator[T]) -> Iterator[T]:
    while True:
        try:
            value = _run(anext(values))
        except StopAsyncIteration:
            return
        yield value
