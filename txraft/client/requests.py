"""Every request: what it sends, and what each answer to it means.

| answer | what it means here |
| --- | --- |
| 200 and 404 with the words of a node; 409 to a cas or a batch; 412 | decided: a result, or `ConditionFailed` |
| 413; 422; any other 400 to 499 | the request is wrong: `TooLarge`, `IdempotencyKeyUsed`, `BadRequest` |
| 500 to 599 with `X-Txraft-Outcome: not-applied`; 408 | `NotApplied` |
| anything else: `unknown`, a proxy's 502, a page of another web server | `OutcomeUnknown` |

A 200 or a 404 counts only with the words, the ETag or the JSON of a node: where another web server listens at an
address by mistake, nothing is taken for done, and no key for missing.
"""

import enum
import json
import re
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar
from urllib.parse import urlencode

from attrs import evolve, frozen

from txraft.client.http import HttpAnswer, HttpRequest
from txraft.client.operations import Bytes, Get, Operation, OperationResult, as_bytes, in_json
from txraft.client.reading import bytes_in_json, read_json
from txraft.errors import BadRequest, ConditionFailed, IdempotencyKeyUsed, NotApplied, OutcomeUnknown, TooLarge
from txraft.kv.contents import Listing
from txraft.statuses import Members, Status

T = TypeVar("T")

Consistency: TypeAlias = Literal["latest", "stale"]
ANY: Final = "*"
Revisions: TypeAlias = int | Collection[int] | Literal["*"]
"""For a condition: a revision, several, or ANY, which every key has that is there."""

FORM = (("Content-Type", "application/x-www-form-urlencoded"),)
IN_JSON = (("Content-Type", "application/json"),)
LONGEST_QUERY: Final = 4096
"""Characters of a URL. A node takes 8 KiB; what is longer is sent as a form."""
MAX_IDEMPOTENCY_KEY: Final = 255

_ETAG = re.compile(r'(?:W/)?"([1-9][0-9]{0,18})"')
_NO_SUCH_KEY: Final = b"there is no such key"


@frozen
class Value:
    """What a key has."""

    value: bytes
    revision: int
    """In which it was set: for `if_match`."""


@frozen
class NodeStatus(Status):
    """What `/status` shows of a node."""

    version: str | None = None
    data_size: int | None = None
    """Bytes of its files."""


class Kind(enum.Enum):
    """What may be done with a request of which nobody knows what became of it."""

    READ = "read"
    """Send it again: it changes nothing."""
    CHANGE = "change"
    """Send it again with the same Idempotency-Key."""
    ONCE = "once"
    """Nothing."""


@frozen
class Request(Generic[T]):
    """A request to the cluster, which any node takes."""

    path: str
    kind: Kind
    http: HttpRequest
    meaning: Callable[[HttpAnswer], T]
    """Of an answer below 500. What it does not know is left to `result_of`: it raises `_NotOfANode`."""
    wants_leader: bool = True
    """Otherwise the caller wants the nodes in the order that it gave."""

    def with_header(self, name: str, value: str) -> "Request[T]":
        """The same with one more header."""
        return evolve(self, http=evolve(self.http, headers=(*self.http.headers, (name, value))))

    def result_of(self, answer: HttpAnswer) -> T:
        """What came of it. Raises ConditionFailed, BadRequest, NotApplied and OutcomeUnknown, as the table says."""
        line, status = answer.line, answer.status
        if status == 408 or (status >= 500 and answer.outcome == "not-applied"):
            raise NotApplied(line)
        if status >= 500:
            raise OutcomeUnknown(f"{status}: {line}")
        try:
            return self.meaning(answer)
        except _NotOfANode:
            pass
        if status == 413:
            raise TooLarge(line)
        if status == 422:
            raise IdempotencyKeyUsed(line)
        if 400 <= status < 500 and status != 404:
            raise BadRequest(line)
        raise OutcomeUnknown(f"this is no answer of a node: {status}: {line}")


class _NotOfANode(Exception):
    """The answer is not one that the request has when it is decided."""


def get(key: Bytes, consistency: Consistency = "latest") -> Request[Value | None]:
    """The value of a key; None where there is none. `stale`: what the first node that answers has just now."""
    return _read("/get", {"key": as_bytes(key)}, consistency, _value)


def set(
    key: Bytes, value: Bytes, if_match: Revisions | None = None, if_none_match: Revisions | None = None
) -> Request[None]:
    """Give a key a value: only where it has one of the revisions `if_match`, and none of `if_none_match`.

    Raises ConditionFailed where it has not."""
    form = {"key": as_bytes(key), "val": as_bytes(value)}
    return _change("/set", form, lambda answer: _require(answer, b"set value"), if_match, if_none_match)


def delete(key: Bytes, if_match: Revisions | None = None, if_none_match: Revisions | None = None) -> Request[bool]:
    """Remove a key, on conditions as those of `set`. Gives whether there was one."""
    return _change("/delete", {"key": as_bytes(key)}, _deleted, if_match, if_none_match)


def cas(key: Bytes, old: Bytes, value: Bytes) -> Request[bool]:
    """Give a key a value where it has the value `old`. Gives whether it had."""
    return _change("/cas", {"key": as_bytes(key), "old": as_bytes(old), "val": as_bytes(value)}, _compared)


def batch(operations: Iterable[Operation]) -> Request[list[OperationResult]]:
    """Do all of this, in this order, and nobody sees some of it without the rest. Gives the result of each.

    Raises ConditionFailed, with the number of the operation, where a Cas does not compare: then nothing is done."""
    given = list(operations)
    body = json.dumps(in_json(given), ensure_ascii=False).encode()
    http = HttpRequest("POST", "/batch", IN_JSON, body)
    return Request("/batch", Kind.CHANGE, http, lambda answer: _results(answer, given))


def list_keys(
    prefix: Bytes = b"", after: Bytes | None = None, limit: int | None = None, consistency: Consistency = "latest"
) -> Request[Listing]:
    """One page: the first keys that begin with `prefix` and come behind `after`, at most `limit` (1,000)."""
    given = {"prefix": as_bytes(prefix)}
    if after is not None:
        given["after"] = as_bytes(after)
    if limit is not None:
        given["limit"] = str(limit).encode()
    return _read("/keys", given, consistency, lambda answer: _json(answer, Listing))


def status() -> Request[NodeStatus]:
    """How the node that is asked is doing."""
    return _read("/status", {}, "latest", lambda answer: _json(answer, NodeStatus))


def members(consistency: Consistency = "latest") -> Request[Members]:
    """Who belongs to the cluster."""
    return _read("/members", {}, consistency, lambda answer: _json(answer, Members), form=False)


def transfer(to: int) -> Request[None]:
    """Make node `to` lead. Raises OutcomeUnknown where it may or may not."""
    http = HttpRequest("POST", "/transfer", FORM, urlencode({"to": to}).encode())
    return Request("/transfer", Kind.ONCE, http, lambda answer: _require(answer, b"transferred leadership"))


def require_idempotency_key(key: str) -> str:
    """The key, where it can be sent. Raises BadRequest."""
    if not (1 <= len(key) <= MAX_IDEMPOTENCY_KEY and key.isascii() and key.isprintable() and key == key.strip()):
        raise BadRequest(
            f"an Idempotency-Key has 1 to {MAX_IDEMPOTENCY_KEY} characters of printable ASCII, and no space around"
            f" them, not {key[:40]!r}"
        )
    return key


# What they are made of


def _read(
    path: str,
    given: dict[str, bytes],
    consistency: Consistency,
    meaning: Callable[[HttpAnswer], T],
    form: bool = True,
) -> Request[T]:
    """`form`: what is long may be sent as one."""
    if consistency not in ("latest", "stale"):
        raise BadRequest(f"consistency is latest or stale, not {consistency!r}")
    parameters = {**given, "consistency": b"stale"} if consistency == "stale" else given
    query = urlencode(parameters)
    if form and len(query) > LONGEST_QUERY:
        http = HttpRequest("POST", path, FORM, query.encode())
    else:
        http = HttpRequest("GET", f"{path}?{query}" if query else path)
    return Request(path, Kind.READ, http, meaning, wants_leader=consistency == "latest")


def _change(
    path: str,
    form: dict[str, bytes],
    meaning: Callable[[HttpAnswer], T],
    if_match: Revisions | None = None,
    if_none_match: Revisions | None = None,
) -> Request[T]:
    headers = [
        (header, _etags(header, revisions))
        for header, revisions in (("If-Match", if_match), ("If-None-Match", if_none_match))
        if revisions is not None
    ]
    http = HttpRequest("POST", path, (*FORM, *headers), urlencode(form).encode())
    return Request(path, Kind.CHANGE, http, meaning)


def _etags(header: str, revisions: Revisions) -> str:
    if revisions == ANY:
        return ANY
    numbers = [revisions] if isinstance(revisions, int) else list(revisions)
    if not numbers or not all(type(number) is int and 0 < number < 2**63 for number in numbers):
        raise BadRequest(f"{header} takes revisions above 0, or ANY, not {revisions!r}")
    return ", ".join(f'"{number}"' for number in numbers)


# What answers mean


def _require(answer: HttpAnswer, words: bytes) -> None:
    if answer.status == 412:
        raise ConditionFailed(answer.line)
    if (answer.status, answer.body) != (200, words):
        raise _NotOfANode


def _deleted(answer: HttpAnswer) -> bool:
    if (answer.status, answer.body) == (404, _NO_SUCH_KEY):
        return False
    _require(answer, b"deleted value")
    return True


def _compared(answer: HttpAnswer) -> bool:
    if answer.status == 409:
        return False
    _require(answer, b"set value")
    return True


def _value(answer: HttpAnswer) -> Value | None:
    if (answer.status, answer.body) == (404, _NO_SUCH_KEY):
        return None
    revision = _ETAG.fullmatch(answer.headers.get("etag", ""))
    if answer.status != 200 or revision is None:
        raise _NotOfANode
    return Value(answer.body, int(revision[1]))


def _json(answer: HttpAnswer, kind: type[T]) -> T:
    if answer.status != 200:
        raise _NotOfANode
    try:
        return read_json(answer.body, kind)
    except ValueError as error:
        raise _NotOfANode from error


def _results(answer: HttpAnswer, operations: list[Operation]) -> list[OperationResult]:
    if answer.status == 409:
        raise ConditionFailed(answer.line)
    given = _json(answer, list[Any])
    if len(given) != len(operations):
        raise _NotOfANode
    try:
        return [_result(each, operation) for each, operation in zip(given, operations, strict=True)]
    except ValueError as error:
        raise _NotOfANode from error


def _result(given: object, operation: Operation) -> OperationResult:
    if isinstance(operation, Get):
        return None if given is None else bytes_in_json(given)
    if not isinstance(given, bool):
        raise ValueError(f"{given!r} is neither true nor false")
    return given
