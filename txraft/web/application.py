"""The routes. Each is a method that is given what a question has, its parameters as a rule, and gives an `Answer`, now
or later."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

from twisted.internet.defer import Deferred

from txraft.core.changes import Change as MemberChange
from txraft.errors import BadRequest, IdempotencyKeyUsed, Undecided
from txraft.interfaces import IReplica
from txraft.kv.backups import Backups
from txraft.kv.commands import (
    Batch,
    Change,
    CompareAndSet,
    Conditional,
    Delete,
    Once,
    Request,
    Result,
    Set,
    encode,
)
from txraft.kv.member_addresses import in_json, two_addresses
from txraft.node.member_changes import add, promote, remove, replace
from txraft.settings import SizeLimits
from txraft.statuses import Members
from txraft.version import version
from txraft.web import outcomes
from txraft.web.backups import of_backup
from txraft.web.batches import of_batch_result, read_batch
from txraft.web.forms import shown
from txraft.web.listings import MAX_KEYS, Keys, of_listing, read_limit
from txraft.web.members import moved, of_members, read_addresses, read_id, read_learner
from txraft.web.outcomes import Answer, LaterAnswer, StreamedAnswer
from txraft.web.parameters import Route, check_site, read_parameters
from txraft.web.question import Head, Question

Parameters: TypeAlias = Mapping[bytes, bytes]
GET, POST = frozenset([b"GET"]), frozenset([b"POST"])
NEW_MEMBER = (b"id", b"address", b"kvaddr")
Given = TypeVar("Given")
Read = TypeVar("Read")
Response: TypeAlias = "Answer | LaterAnswer | StreamedAnswer | Deferred[Any]"
"""Where it is a Deferred, of one of the others."""
Handler: TypeAlias = "Callable[[WebApplication, Given, Head], Response]"
Reader: TypeAlias = Callable[[Question, Route, SizeLimits], Given]
Endpoint: TypeAlias = "Callable[[WebApplication, Question], Response]"


class Values(Keys, Protocol):
    """What a state machine holds, as far as `/get` and `/keys` need it."""

    def record(self, key: bytes, /) -> bytes | None:
        """What is kept of `key` (`txraft.kv.records`); None where there is none."""
        ...


Routes: TypeAlias = "defaultdict[bytes, dict[bytes, tuple[Route, Endpoint]]]"
"""By path and method."""


def _serve(routes: Routes, route: Route, read: Reader[Given]) -> "Callable[[Handler[Given]], Endpoint]":
    """Make a handler the endpoint of its route. `read` gives what the handler is given."""

    def decorate(handler: "Handler[Given]") -> Endpoint:
        def endpoint(self: "WebApplication", question: Question) -> Response:
            return handler(self, read(question, route, self.limits), question.head)

        for method in route.methods:
            routes[route.path.encode()][method] = route, endpoint
        return endpoint

    return decorate


def _read_parameters_of_site(question: Question, route: Route, limits: SizeLimits) -> Parameters:
    """Of what changes nothing, and yet is not for pages of other sites to ask: it keeps a disk busy."""
    check_site(question, "ask for a backup")
    return read_parameters(question, route, limits)


class WebApplication:
    """The API of one node."""

    routes: ClassVar[Routes] = defaultdict(dict)
    """For `txraft.web.site`."""

    def __init__(
        self,
        replica: IReplica,
        values: Values,
        limits: SizeLimits,
        backups: Backups | None = None,
        data_size: Callable[[], int] | None = None,
    ) -> None:
        self.limits = limits
        self._backups = backups
        self._data_size = data_size
        self._replica = replica
        self._values = values
        self._version = version()  # once: it is read from a file

    @_serve(routes, Route("/set", required=(b"key", b"val"), changes=True), read_parameters)
    def set(self, given: Parameters, head: Head) -> "Deferred[Answer]":
        """Give a key a value."""
        return self._change(Set(given[b"key"], given[b"val"]), head, outcomes.SET)

    @_serve(routes, Route("/delete", required=(b"key",), changes=True), read_parameters)
    def delete(self, given: Parameters, head: Head) -> "Deferred[Answer]":
        """Remove a key."""
        return self._change(Delete(given[b"key"]), head, outcomes.DELETE)

    @_serve(routes, Route("/cas", required=(b"key", b"old", b"val"), changes=True), read_parameters)
    def compare_and_set(self, given: Parameters, head: Head) -> "Deferred[Answer]":
        """Give a key a value if it has the one that the caller thinks it has."""
        change = CompareAndSet(given[b"key"], given[b"old"], given[b"val"])
        return self._change(change, head, outcomes.COMPARE_AND_SET)

    @_serve(routes, Route("/get", required=(b"key",), optional=(b"consistency",)), read_parameters)
    def get(self, given: Parameters, head: Head) -> "Answer | LaterAnswer | Deferred[Answer | LaterAnswer]":
        """The value of a key."""
        key = given[b"key"]
        return self._read(given, lambda _: outcomes.of_record(self._values.record(key), head))

    @_serve(routes, Route("/keys", optional=(b"prefix", b"after", b"limit", b"consistency")), read_parameters)
    def keys(self, given: Parameters, _: Head) -> "Answer | LaterAnswer | Deferred[Answer | LaterAnswer]":
        """The keys that begin so, in order, with their revisions."""
        prefix, after = given.get(b"prefix", b""), given.get(b"after")
        limit = read_limit(given[b"limit"]) if b"limit" in given else MAX_KEYS
        return self._read(given, lambda _: of_listing(self._values, prefix, after, limit))

    @_serve(routes, Route("/backup", optional=(b"consistency",), methods=GET), _read_parameters_of_site)
    def backup(self, given: Parameters, head: Head) -> "Answer | StreamedAnswer | Deferred[Answer | StreamedAnswer]":
        """All the data, as a file."""
        if (backups := self._backups) is None:
            raise BadRequest("the data of this node are in memory alone, and there is no backup of them")
        if head.rest is not None and (kept := backups.kept(head.rest[0])) is not None:
            return of_backup(kept, head.rest[1])
        return self._read(given, lambda _: backups.make().addCallback(of_backup))

    @_serve(routes, Route("/batch", changes=True, cost=6, methods=POST), read_batch)
    def batch(self, batch: Batch, head: Head) -> "Deferred[LaterAnswer]":
        """Do several things, or none of them, as one change."""
        if head.conditions:
            raise BadRequest("/batch takes neither If-Match nor If-None-Match; it has cas")
        return self._propose(batch, head).addCallback(of_batch_result, batch)

    @_serve(routes, Route("/transfer", required=(b"to",), changes=True, methods=POST), read_parameters)
    def transfer(self, given: Parameters, head: Head) -> "Deferred[Answer]":
        """Make another node lead."""
        to = read_id(given, b"to")
        _refuse_conditions(head, "/transfer")
        return self._replica.transfer_leadership(to).addCallback(lambda _: outcomes.TRANSFERRED)

    @_serve(
        routes, Route("/members", optional=(b"consistency",), methods=frozenset([b"GET", b"HEAD"])), read_parameters
    )
    def members(self, given: Parameters, _: Head) -> "Answer | Deferred[Answer]":
        """Who belongs to the cluster."""
        self._replica.members()  # a node that does not know them says so at once, and whom to ask
        return self._read(given, lambda _: of_members(self._replica.members()))

    @_serve(routes, Route("/members", NEW_MEMBER, (b"learner",), changes=True, methods=POST), read_parameters)
    def add_member(self, given: Parameters, head: Head) -> "Deferred[Answer]":
        """A new server belongs to it."""
        id, learner, addresses = read_id(given, b"id"), read_learner(given), read_addresses(given)
        return self._change_members(lambda members: add(members, id, two_addresses(**addresses), learner), head)

    @_serve(routes, Route("/members", (b"id",), changes=True, methods=frozenset([b"DELETE"])), read_parameters)
    def remove_member(self, given: Parameters, head: Head) -> "Deferred[Answer]":
        """One does not any more."""
        id = read_id(given, b"id")
        return self._change_members(lambda members: remove(members, id), head)

    @_serve(routes, Route("/members/promote", (b"id",), changes=True, methods=POST), read_parameters)
    def promote_member(self, given: Parameters, head: Head) -> "Deferred[Answer]":
        """A learner gets a vote."""
        id = read_id(given, b"id")
        return self._change_members(lambda members: promote(members, id), head)

    @_serve(
        routes,
        Route("/members/replace", (b"id", b"by", b"address", b"kvaddr"), changes=True, methods=POST),
        read_parameters,
    )
    def replace_member(self, given: Parameters, head: Head) -> "Deferred[Answer]":
        """A new server takes the place of another."""
        old, new, addresses = read_id(given, b"id"), read_id(given, b"by"), read_addresses(given)
        return self._change_members(lambda members: replace(members, old, new, two_addresses(**addresses)), head)

    @_serve(
        routes, Route("/members/update", (b"id",), (b"address", b"kvaddr"), changes=True, methods=POST), read_parameters
    )
    def update_member(self, given: Parameters, head: Head) -> "Deferred[Answer]":
        """One has other addresses."""
        id, addresses = read_id(given, b"id"), read_addresses(given)
        if not addresses:
            raise BadRequest("address and kvaddr are missing; give what is to be another one, or both")
        return self._change_members(lambda members: moved(members, id, addresses), head)

    @_serve(routes, Route("/status"), read_parameters)
    def status(self, _: Parameters, __: Head) -> Answer:
        """Where this node stands."""
        size = None if self._data_size is None else self._data_size()
        status = {"version": self._version, "data_size": size, **in_json(self._replica.status())}
        return Answer(200, json.dumps(status).encode(), content_type=outcomes.JSON)

    def _change_members(self, change_of: "Callable[[Members], MemberChange]", head: Head) -> "Deferred[Answer]":
        """Make a change of the membership. The answer has it as it is then, as far as this node knows."""
        _refuse_conditions(head, "/members")
        replica = self._replica
        done = replica.read_barrier().addCallback(lambda _: replica.change_members([change_of(replica.members())]))
        # It is done also where this node cannot hear of it, being the one that was removed, say.
        done.addCallback(lambda _: replica.read_barrier().addErrback(lambda failure: failure.trap(Undecided)))
        return done.addCallback(lambda _: of_members(replica.members()))

    def _change(self, change: Change, head: Head, answers: Mapping[bytes, Answer]) -> "Deferred[Answer]":
        conditions = head.conditions
        request = Conditional(change, conditions) if conditions else change
        return self._propose(request, head).addCallback(outcomes.of_result, answers)

    def _propose(self, request: Request, head: Head) -> "Deferred[bytes]":
        key = head.idempotency_key
        if key is None:
            return self._replica.propose(encode(request))
        return self._replica.propose(encode(Once.of(key, request))).addCallback(_require_same_request)

    def _read(self, given: Parameters, read: "Callable[[None], Read | Deferred[Read]]") -> "Read | Deferred[Read]":
        """The latest (linearizable), or what this node has just now (stale)."""
        match given.get(b"consistency", b"linearizable"):
            case b"linearizable":
                return self._replica.read_barrier().addCallback(read)
            case b"stale":
                return read(None)
            case other:
                raise BadRequest(f"consistency is linearizable (the default) or stale, not {shown(other)}")


def _refuse_conditions(head: Head, path: str) -> None:
    if head.conditions or head.idempotency_key is not None:
        raise BadRequest(f"{path} takes no If-Match, If-None-Match or Idempotency-Key")


def _require_same_request(result: bytes) -> bytes:
    if result == Result.OTHER_REQUEST.value:
        raise IdempotencyKeyUsed("this Idempotency-Key came with another request before; nothing was done")
    return result
