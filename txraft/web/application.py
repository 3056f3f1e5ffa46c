"""The routes. Each is a method that is given what a question has, its parameters as a rule, and gives an `Answer`, now
or later."""

import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar, cast

import attrs
from klein import Klein
from twisted.internet.defer import Deferred

from txraft.errors import BadRequest
from txraft.interfaces import IReplica
from txraft.kv.commands import Batch, Command, CompareAndSet, Delete, Set, encode
from txraft.settings import SizeLimits
from txraft.version import version
from txraft.web import outcomes
from txraft.web.batches import of_batch_result, read_batch
from txraft.web.forms import shown
from txraft.web.outcomes import Answer, LaterAnswer
from txraft.web.parameters import Route, read_parameters
from txraft.web.question import Question

Parameters: TypeAlias = Mapping[bytes, bytes]
POST = frozenset([b"POST"])
Given = TypeVar("Given")
Response: TypeAlias = "Answer | LaterAnswer | Deferred[Answer] | Deferred[LaterAnswer] | Deferred[Answer | LaterAnswer]"
Handler: TypeAlias = "Callable[[WebApplication, Given], Response]"
Reader: TypeAlias = Callable[[Question, Route, SizeLimits], Given]
Endpoint: TypeAlias = "Callable[[WebApplication, Question], Response]"


class Values(Protocol):
    """What a state machine holds, as far as `/get` needs it."""

    def get(self, key: bytes, /) -> bytes | None:
        """The value of `key`; None where there is none."""
        ...


def _serve(
    app: Klein, routes: dict[bytes, Route], route: Route, read: Reader[Given]
) -> "Callable[[Handler[Given]], Endpoint]":
    """Make a handler the endpoint of its route. `read` gives what the handler is given."""

    def decorate(handler: "Handler[Given]") -> Endpoint:
        def endpoint(self: "WebApplication", question: Question) -> Response:
            return handler(self, read(question, route, self.limits))

        methods = [method.decode() for method in route.methods]
        app.route(route.path, methods=methods, endpoint=route.path)(cast(Any, endpoint))  # Klein knows no Answer
        routes[route.path.encode()] = route
        return endpoint

    return decorate


class WebApplication:
    """The API of one node."""

    app = Klein()
    routes: ClassVar[dict[bytes, Route]] = {}
    """All routes by path, for `txraft.web.site`."""

    def __init__(self, replica: IReplica, values: Values, limits: SizeLimits) -> None:
        self.limits = limits
        self._replica = replica
        self._values = values
        self._version = version()  # once: it is read from a file

    @_serve(app, routes, Route("/set", required=(b"key", b"val"), changes=True), read_parameters)
    def set(self, given: Parameters) -> "Deferred[Answer]":
        """Give a key a value."""
        return self._propose(Set(given[b"key"], given[b"val"]), outcomes.SET)

    @_serve(app, routes, Route("/delete", required=(b"key",), changes=True), read_parameters)
    def delete(self, given: Parameters) -> "Deferred[Answer]":
        """Remove a key."""
        return self._propose(Delete(given[b"key"]), outcomes.DELETE)

    @_serve(app, routes, Route("/cas", required=(b"key", b"old", b"val"), changes=True), read_parameters)
    def compare_and_set(self, given: Parameters) -> "Deferred[Answer]":
        """Give a key a value if it has the one that the caller thinks it has."""
        command = CompareAndSet(given[b"key"], given[b"old"], given[b"val"])
        return self._propose(command, outcomes.COMPARE_AND_SET)

    @_serve(app, routes, Route("/get", required=(b"key",), optional=(b"consistency",)), read_parameters)
    def get(self, given: Parameters) -> "Answer | LaterAnswer | Deferred[Answer | LaterAnswer]":
        """The value of a key: the latest (linearizable), or what this node has just now (stale)."""
        key = given[b"key"]
        match given.get(b"consistency", b"linearizable"):
            case b"linearizable":
                return self._replica.read_barrier().addCallback(lambda _: outcomes.of_value(self._values.get(key)))
            case b"stale":
                return outcomes.of_value(self._values.get(key))
            case other:
                raise BadRequest(f"consistency is linearizable (the default) or stale, not {shown(other)}")

    @_serve(app, routes, Route("/batch", changes=True, cost=6, methods=POST), read_batch)
    def batch(self, batch: Batch) -> "Deferred[LaterAnswer]":
        """Do several things, or none of them, as one change."""
        return self._replica.propose(encode(batch)).addCallback(of_batch_result, batch)

    @_serve(app, routes, Route("/transfer", required=(b"to",), changes=True, methods=POST), read_parameters)
    def transfer(self, given: Parameters) -> "Deferred[Answer]":
        """Make another node lead."""
        to = given[b"to"]
        if not (to.isdigit() and len(to) < 20):
            raise BadRequest(f"to is the id of a node, a whole number, not {shown(to)}")
        return self._replica.transfer_leadership(int(to)).addCallback(lambda _: outcomes.TRANSFERRED)

    @_serve(app, routes, Route("/status"), read_parameters)
    def status(self, _: Parameters) -> Answer:
        """Where this node stands."""
        status = {"version": self._version, **attrs.asdict(self._replica.status())}
        return Answer(200, json.dumps(status).encode(), content_type=outcomes.JSON)

    def _propose(self, command: Command, answers: Mapping[bytes, Answer]) -> "Deferred[Answer]":
        return self._replica.propose(encode(command)).addCallback(outcomes.of_result, answers)
