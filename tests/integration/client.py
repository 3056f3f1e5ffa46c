"""Asking a node over HTTP, as a program would."""

from typing import Any

import treq
from attrs import frozen
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

TIMEOUT = 15.0
"""Seconds in which a node that runs must have answered, whatever it answers: more than its own request_timeout."""


@frozen
class Answer:
    """What a node said."""

    status: int
    body: bytes
    outcome: str | None
    """X-Txraft-Outcome."""
    retry_after: str | None


@implementer(IAgentEndpointFactory)
@frozen
class _Endpoints:
    """Plain TCP. Agent's own choice takes 300 ms to find out that nobody listens."""

    reactor: Any

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """To the address in a URL, which has no name in it."""
        return TCP4ClientEndpoint(self.reactor, uri.host.decode(), uri.port, timeout=2)


class Client:
    """Keeps connections open, and sends nothing twice."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = 64
        self._pool.retryAutomatically = False  # a second try would hide what became of the first
        self._http = HTTPClient(Agent.usingEndpointFactory(reactor, _Endpoints(reactor), self._pool))

    def ask(
        self, url: str, parameters: dict[str, str], timeout: float = TIMEOUT, method: str = "POST"
    ) -> Deferred[Answer]:
        """POST `parameters` as a form, or ask by another method. Fails as treq does, and with TimeoutError after
        `timeout` seconds."""
        return Deferred.fromCoroutine(self._ask(url, parameters, method)).addTimeout(timeout, self._reactor)

    def close(self) -> None:
        """Let the open connections go."""
        self._pool.closeCachedConnections()

    async def _ask(self, url: str, parameters: dict[str, str], method: str) -> Answer:
        form, query = (parameters, None) if method == "POST" else (None, parameters)
        response = await self._http.request(method, url, data=form, params=query)
        body = await treq.content(response)
        outcome, retry_after = (
            values[0] if (values := response.headers.getRawHeaders(name)) else None
            for name in ("X-Txraft-Outcome", "Retry-After")
        )
        return Answer(response.code, body, outcome, retry_after)
