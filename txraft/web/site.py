"""From the wire to the route, and the factory that a node listens with."""

# mypy: allow-untyped-calls
# (Most of Twisted's HTTP classes have no annotations.)

from collections.abc import Callable, Collection
from math import inf

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http

from txraft.interfaces import IReplica
from txraft.kv.backups import Backups
from txraft.settings import SizeLimits, Timing
from txraft.web.application import Endpoint, Values, WebApplication
from txraft.web.channel import ApiChannel
from txraft.web.outcomes import NODE_HAS_FAILED, Answer, no_such_method, no_such_path, of_failure
from txraft.web.parameters import Route, body_limit
from txraft.web.question import Question
from txraft.web.turns import LongJobs, Pipelines

_log = Logger()

CHECK_INTERVAL = 1.0
"""Seconds between two looks for connections whose deadline is over."""
MAX_HELD = 256 * 1024 * 1024
"""What all clients together may have sent of bodies that are not read, and not taken of their answers, or not yet been
made of them, in bytes; or four bodies, if that is more."""
STOP_SECONDS = 5.0
"""When a node stops, clients have this long to take their last answers."""
SILENCE = 60.0
"""Seconds in which the same complaint about clients is one line in the log."""


class _Held:
    """What channels keep for their clients, in bytes."""

    def __init__(self) -> None:
        self.sizes: dict[ApiChannel, int] = {}
        """The one that began longest ago comes first."""
        self.total = 0

    def hold(self, channel: ApiChannel, size: int) -> None:
        """It is this many now."""
        self.total += size - self.sizes.get(channel, 0)
        self.sizes[channel] = size

    def release(self, channel: ApiChannel) -> None:
        """It is nothing."""
        self.total -= self.sizes.pop(channel, 0)


class ApiSite(ServerFactory):
    """Takes connections, ends those that are too slow, and brings each request to its route. No request is logged."""

    noisy = False

    def __init__(
        self,
        application: WebApplication,
        reactor: IReactorTime,
        limits: SizeLimits,
        timing: Timing,
        allowed_hosts: Collection[str],
    ) -> None:
        self.body_limit = body_limit(limits)
        self.receive_seconds = timing.receive_seconds
        self.idle_seconds = timing.idle_seconds
        self.now = reactor.seconds
        self.long_jobs = LongJobs(reactor)
        self.pipelines = Pipelines(reactor.callLater)
        self._call_later = reactor.callLater
        self._application = application
        self._routes = application.routes
        self._allowed_hosts = {host.encode() for host in allowed_hosts}
        self._max_connections = limits.connections
        self._max_held = max(MAX_HELD, 4 * self.body_limit)
        self._channels: set[ApiChannel] = set()
        self._bodies = _Held()
        self._answers = _Held()
        self._said: dict[str, float] = {}
        """When each of the lines was logged."""
        self._second = -1.0
        self._date = b""
        self._watch = LoopingCall(self._expire)
        self._watch.clock = reactor
        self._on_last_closed: Callable[[], None] | None = None
        self._refuses = False

    # Connections

    def buildProtocol(self, addr: IAddress | None) -> ApiChannel | None:  # noqa: ARG002  ServerFactory's signature
        """A channel for a new connection. None, which closes it, where there are too many."""
        if len(self._channels) < self._max_connections:
            return ApiChannel(self)
        self._warn(
            "{count} clients are connected, which is as many as may be; more are turned away. limits.connections"
            " and the limit of open files (ulimit -n) of this process say how many",
            count=len(self._channels),
        )
        return None

    def _warn(self, line: str, count: int) -> None:
        if self.now() >= self._said.get(line, -inf) + SILENCE:
            self._said[line] = self.now()
            _log.warn(line, count=count)

    def opened(self, channel: ApiChannel) -> None:
        """A channel has its connection."""
        self._channels.add(channel)
        if not self._watch.running:
            self._watch.start(CHECK_INTERVAL, now=False)

    def closed(self, channel: ApiChannel) -> None:
        """A channel has lost it."""
        self._channels.discard(channel)
        self.release(channel)
        if not self._channels:
            if self._watch.running:
                self._watch.stop()
            if self._on_last_closed is not None:
                self._on_last_closed()

    def stop(self) -> "Deferred[None]":
        """The node stops, and its port takes no more connections. Close those that there are: at once where nothing is
        under way, the others when they have their answer, and all of them after STOP_SECONDS. Fires when none is left,
        and no timer of the site either."""
        stopped: Deferred[None] = Deferred()
        limit = self._call_later(STOP_SECONDS, self._abort_all)

        def on_last_closed() -> None:
            if limit.active():
                limit.cancel()
            self.long_jobs.stop()
            self.pipelines.stop()
            stopped.callback(None)

        if self._channels:
            self._on_last_closed = on_last_closed
            for channel in list(self._channels):
                channel.stop()
        else:
            on_last_closed()
        return stopped

    def _abort_all(self) -> None:
        for channel in list(self._channels):
            channel.abort()

    def hold_body(self, channel: ApiChannel, size: int) -> None:
        """A channel has this many bytes of a body that has not been read."""
        self._bodies.hold(channel, size)
        self._make_room()

    def hold_answer(self, channel: ApiChannel, size: int) -> None:
        """A channel has this many bytes of an answer that its client has not taken, or that is still to be made."""
        self._answers.hold(channel, size)
        self._make_room()

    def release(self, channel: ApiChannel) -> None:
        """It keeps nothing any more."""
        self._bodies.release(channel)
        self._answers.release(channel)

    def _make_room(self) -> None:
        """Where all together keep too much, end what costs most: the largest body (the last to begin, of several), or
        the answer that waits longest, which is hardly one of a client that reads."""
        while self._bodies.total + self._answers.total > self._max_held:
            if self._answers.total > self._bodies.total:
                slowest = next(iter(self._answers.sizes))
                self.release(slowest)
                slowest.abort()
            else:
                largest = max(reversed(self._bodies.sizes), key=self._bodies.sizes.__getitem__)
                self.release(largest)
                largest.refuse(503, "this node holds as much of unfinished requests as it may; nothing was done")
            self._warn(
                "Clients send or ask for more at once, or leave more of their answers, than the {count} bytes that this"
                " node keeps for them; the largest requests are refused, the slowest readers dropped. Do you know these"
                " clients?",
                count=self._max_held,
            )

    def _expire(self) -> None:
        now = self.now()
        for channel in [channel for channel in self._channels if channel.deadline <= now]:
            channel.expire()

    # Requests

    def serves(self, host: bytes) -> bool:
        """Whether requests with this Host are answered: all, unless there is a list (hazard N7)."""
        return not self._allowed_hosts or _name(host.lower()) in self._allowed_hosts

    def serve(self, question: Question) -> None:
        """Answer a question, now or later."""
        by_method = self._routes.get(question.path, {})
        served = by_method.get(question.method)
        if self._refuses:
            self._turn_down(question, NODE_HAS_FAILED)
        elif served is not None:
            route, endpoint = served
            self.long_jobs.run(question.length * route.cost, self._ask, question, route, endpoint)
        elif by_method:
            self._turn_down(question, no_such_method(by_method))
        else:
            self._turn_down(question, no_such_path(self._routes))

    def refuse_everything(self) -> None:
        """The node has failed: what it has would look like what there is."""
        self._refuses = True

    def _ask(self, question: Question, route: Route, endpoint: Endpoint) -> None:
        """Bring it to its route. Nothing comes back but an answer.

        What the endpoint waits for is not cancelled when the client goes: what was proposed goes its way, and a barrier
        may be shared."""
        channel = question.channel
        if channel.refused:
            return
        try:
            answer = endpoint(self._application, question)
        except Exception:
            answer = of_failure(Failure(), route.changes)
        if question.body:
            self._drop_body(question)
        if isinstance(answer, Deferred):
            answer.addCallbacks(channel.answer, channel.fail, errbackArgs=(route.changes,))
        else:
            channel.answer(answer)

    def _turn_down(self, question: Question, answer: Answer) -> None:
        self._drop_body(question)
        question.channel.answer(answer)

    def _drop_body(self, question: Question) -> None:
        question.drop_body()
        self.release(question.channel)

    def date(self, now: float) -> bytes:
        """The time `now`, as an answer's head says it: made once a second."""
        second = now // 1
        if second != self._second:
            self._second, self._date = second, http.datetimeToString()
        return self._date


def _name(host: bytes) -> bytes:
    """A Host header without its port, and without the brackets of an IPv6 address."""
    if host.startswith(b"["):
        name, _, port = host[1:].partition(b"]")
        return name if port[:1] in (b"", b":") else b""
    return host.partition(b":")[0]


def site(
    replica: IReplica,
    values: Values,
    reactor: IReactorTime,
    limits: SizeLimits | None = None,
    timing: Timing | None = None,
    allowed_hosts: Collection[str] = (),
    backups: Backups | None = None,
    data_size: Callable[[], int] | None = None,
) -> ApiSite:
    """The factory to listen with: the HTTP API of one node. `values` is what its state machine holds, `backups` makes
    those of them, and `data_size` tells how many bytes of a disk the node takes; the rest is as in `Settings`."""
    limits = limits or SizeLimits()
    application = WebApplication(replica, values, limits, backups, data_size)
    return ApiSite(application, reactor, limits, timing or Timing(), allowed_hosts)
