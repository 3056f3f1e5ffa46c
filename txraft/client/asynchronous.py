"""The client for programs on Twisted. Its methods give Deferreds, which a coroutine awaits."""

from collections.abc import AsyncIterator, Iterable
from random import SystemRandom
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from txraft.addresses import Address
from txraft.client import requests
from txraft.client.nodes import Nodes, addresses_of
from txraft.client.operations import Bytes, Operation, OperationResult
from txraft.client.requests import Consistency, NodeStatus, Request, Revisions, Value
from txraft.client.session import ATTEMPT_TIMEOUT, TIMEOUT, Session, all_keys
from txraft.client.treq_transport import TreqTransport
from txraft.kv.contents import KeyInfo, Listing
from txraft.statuses import Members

T = TypeVar("T")

CONNECTIONS = 64
"""To one node, by default."""


class KeyValueClient:
    """A client of the cluster that the nodes at `nodes`, each host:port of an HTTP API, belong to.

    `timeout` is the seconds for a request with all its attempts, which each method may be given, too, and
    `attempt_timeout` those for one attempt. There are at most `connections` to each node. With `finds_leader=False`,
    only the nodes given are asked, in their order.

    Every method may fail with NotApplied, a change with OutcomeUnknown too, and BadRequest: see `txraft.client`. An
    argument that cannot be sent is a BadRequest at once. To cancel a Deferred ends the waiting; a change that was sent
    may be done all the same.
    """

    def __init__(
        self,
        reactor: Any,
        *nodes: Address | str,
        timeout: float = TIMEOUT,
        attempt_timeout: float = ATTEMPT_TIMEOUT,
        connections: int = CONNECTIONS,
        finds_leader: bool = True,
    ) -> None:
        self._transport = TreqTransport(reactor, connections)
        known = Nodes(addresses_of(nodes), self._transport.now)
        self._session = Session(self._transport, known, SystemRandom(), timeout, attempt_timeout, finds_leader)

    def get(
        self, key: Bytes, *, consistency: Consistency = "latest", timeout: float | None = None
    ) -> "Deferred[Value | None]":
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
    ) -> "Deferred[None]":
        """Give a key a value: only where its revision is one of `if_match`, and none of `if_none_match`. `ANY` is any
        revision, so `if_none_match=ANY` wants that there is no such key. Fails with
        ConditionFailed."""
        return self._perform(requests.set(key, value, if_match, if_none_match), timeout, idempotency_key)

    def delete(
        self,
        key: Bytes,
        *,
        if_match: Revisions | None = None,
        if_none_match: Revisions | None = None,
        timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> "Deferred[bool]":
        """Remove a key, on conditions as those of `set`. Fires with whether there was one."""
        return self._perform(requests.delete(key, if_match, if_none_match), timeout, idempotency_key)

    def cas(
        self,
        key: Bytes,
        old: Bytes,
        value: Bytes,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> "Deferred[bool]":
        """Give a key a value where it has the value `old`. Fires with whether it had."""
        return self._perform(requests.cas(key, old, value), timeout, idempotency_key)

    def batch(
        self, operations: Iterable[Operation], *, timeout: float | None = None, idempotency_key: str | None = None
    ) -> "Deferred[list[OperationResult]]":
        """Do all of this, in this order, as one change. Fires with the result of each. Fails with ConditionFailed where
        a Cas does not compare: then nothing is done."""
        return self._perform(requests.batch(operations), timeout, idempotency_key)

    def keys(
        self,
        prefix: Bytes = b"",
        *,
        limit: int | None = None,
        consistency: Consistency = "latest",
        timeout: float | None = None,
    ) -> AsyncIterator[KeyInfo]:
        """The first `limit` keys that begin with `prefix`, or all, in order, for `async for`, asked for page by page as
        they are used. Each page is as of a moment of its own. `timeout` is for each page.

        A task of asyncio cannot wait for this: it takes `list_keys`, whose Deferred has `asFuture`."""

        async def page(after: bytes | None, most: int) -> Listing:
            return await self._session.perform(requests.list_keys(prefix, after, most, consistency), timeout)

        return all_keys(page, limit)

    def list_keys(
        self,
        prefix: Bytes = b"",
        *,
        after: Bytes | None = None,
        limit: int | None = None,
        consistency: Consistency = "latest",
        timeout: float | None = None,
    ) -> "Deferred[Listing]":
        """One page: the first keys behind `after` that begin with `prefix`, at most `limit`, or 1,000."""
        return self._perform(requests.list_keys(prefix, after, limit, consistency), timeout)

    def status(self, *, timeout: float | None = None) -> "Deferred[NodeStatus]":
        """How the node is doing that answers."""
        return self._perform(requests.status(), timeout)

    def members(self, *, consistency: Consistency = "latest", timeout: float | None = None) -> "Deferred[Members]":
        """Who belongs to the cluster."""
        return self._perform(requests.members(consistency), timeout)

    def transfer(self, to: int, *, timeout: float | None = None) -> "Deferred[None]":
        """Make node `to` lead. Sent once: fails with NotApplied or OutcomeUnknown, and what the node said."""
        return self._perform(requests.transfer(to), timeout)

    def close(self) -> "Deferred[None]":
        """Close the connections that are kept. Fires when that is done. A request that is made later makes new ones."""
        return self._transport.close()

    def _perform(self, request: Request[T], timeout: float | None, key: str | None = None) -> "Deferred[T]":
        return Deferred.fromCoroutine(self._session.perform(request, timeout, key))
