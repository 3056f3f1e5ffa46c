"""A cluster that only seems to be one: what each node answers is said by the test, and time passes when it says so."""

import json
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeAlias, TypeVar

from attrs import define, field, frozen

from tests.clock import STARTS_AT
from txraft.addresses import Address
from txraft.client.http import HttpAnswer, HttpRequest
from txraft.client.nodes import Nodes
from txraft.client.session import Session
from txraft.errors import NoHttpAnswer, OutcomeUnknown, Unreachable

T = TypeVar("T")

A, B, C, D = (Address(name, 1) for name in "abcd")

SET = HttpAnswer(200, {}, b"set value")
NO_LEADER = HttpAnswer(503, {"x-txraft-outcome": "not-applied"}, b"no leader was found")
IN_DOUBT = HttpAnswer(503, {"x-txraft-outcome": "unknown"}, b"the leader went away")
NO_CONNECTION = Unreachable("cannot be reached")
NO_ANSWER = OutcomeUnknown("no answer")
CUT_OFF = NoHttpAnswer("no answer: the connection was cut off")

Answer: TypeAlias = HttpAnswer | Exception
Script: TypeAlias = "Answer | list[Answer] | Callable[[Attempt], Answer]"


@frozen
class Attempt:
    """What was sent."""

    address: Address
    request: HttpRequest
    timeout: float
    at: float
    """Seconds since the beginning."""

    @property
    def path(self) -> str:
        return self.request.target.partition("?")[0]

    @property
    def key(self) -> str | None:
        """Its Idempotency-Key."""
        return dict(self.request.headers).get("Idempotency-Key")


@define(eq=False)
class ScriptedCluster:
    """A `Transport`. Its coroutines never wait: they advance the time."""

    scripts: dict[Address, Script]
    """What a node answers: always the same, one after the other (the last of them for good), or what a function says.
    One that is not named takes no connection."""
    statuses: dict[Address, Answer] = field(factory=dict)
    """What it answers to `/status`."""
    takes: float = 0.0
    """Seconds for each answer; where there is none, all of the timeout passes."""
    attempts: list[Attempt] = field(factory=list)
    """All but those of `/status`."""
    looks: list[Attempt] = field(factory=list)
    pauses: list[float] = field(factory=list)
    time: float = STARTS_AT

    async def send(self, address: Address, request: HttpRequest, timeout: float) -> HttpAnswer:
        """As Transport."""
        attempt = Attempt(address, request, timeout, self.time - STARTS_AT)
        if attempt.path == "/status":
            self.looks.append(attempt)
            answer = self.statuses.get(address, NO_CONNECTION)
        else:
            self.attempts.append(attempt)
            answer = self._next(address, attempt)
        self.time += timeout if answer is NO_ANSWER else self.takes
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        """As Transport."""
        self.pauses.append(seconds)
        self.time += seconds

    def now(self) -> float:
        """As Transport."""
        return self.time

    @property
    def asked(self) -> list[Address]:
        """Who was sent a request, in their order."""
        return [attempt.address for attempt in self.attempts]

    def session(self, *given: Address, **options: Any) -> Session:
        """A client's. It looks for no leader, unless it is told to."""
        return Session(self, Nodes(given, self.now), Random(1), **{"finds_leader": False, **options})

    def _next(self, address: Address, attempt: Attempt) -> Answer:
        script = self.scripts.get(address, NO_CONNECTION)
        if isinstance(script, list):
            return script.pop(0) if len(script) > 1 else script[0]
        return script(attempt) if callable(script) else script


def status_of(leader: int | None, *members: Address | str, cluster: str = "ours", known: bool = True) -> HttpAnswer:
    """What a node says to `/status`: the members are 0, 1 and so on."""
    fields = {
        "id": 0,
        "cluster": cluster,
        "role": "follower",
        "term": 1,
        "leader_id": leader,
        "commit_index": 1,
        "last_applied": 1,
        "last_log_index": 1,
        "first_log_index": 1,
        "members_known": known,
        "members": [
            {"id": id, "address": "x:1", "kvaddr": str(kvaddr), "voter": True, "learner": False, "joining": False}
            for id, kvaddr in enumerate(members)
        ],
        "followers": [],
        "version": "1",
        "data_size": 1,
        "what_a_later_version_adds": 1,
    }
    return HttpAnswer(200, {}, json.dumps(fields).encode())


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it waits")
