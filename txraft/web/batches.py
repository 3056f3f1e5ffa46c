"""`/batch`: a JSON list of operations to one command, and what came of it to a JSON list.

[{"set": {"key": "a", "val": "1"}}, {"get": {"key": "b"}}]  is answered  [true, null]

A text that is not UTF-8 is written, and answered, as {"base64": "/w=="}. A set and a compare-and-set are answered true,
a delete whether there was such a key, a get with the value, or null where there is none.

JSON is bounded before it is read (hazard N1): its bytes, and while it is read the number of its objects. A number is
refused where it stands, for nothing here is one, and the standard library reads what nests deeply no further than the
interpreter's limit of recursion.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from multipart import parse_options_header  # type: ignore[import-untyped]  # it has no annotations

from txraft.errors import BadRequest, OutcomeUnknown, TooLarge
from txraft.kv.commands import Batch, CompareAndSet, Delete, Get, Operation, OperationResult, Refused, Result, Set
from txraft.settings import SizeLimits
from txraft.web.forms import MAX_CONTENT_TYPE, shown
from txraft.web.outcomes import JSON, Answer
from txraft.web.parameters import Route, check_site, check_size
from txraft.web.question import Question

OPERATIONS: dict[str, tuple[Callable[..., Operation], tuple[str, ...]]] = {
    "set": (Set, ("key", "val")),
    "delete": (Delete, ("key",)),
    "cas": (CompareAndSet, ("key", "old", "val")),
    "get": (Get, ("key",)),
}
"""What each is called, and what it takes, in the order in which the command has it."""

EXAMPLE = (
    '[{"set": {"key": K, "val": V}}, {"get": {"key": K}}, {"delete": {"key": K}},'
    ' {"cas": {"key": K, "old": O, "val": V}}]'
)
IN_QUOTES = 'a text in quotes, or {"base64": "..."} for bytes that are not UTF-8'

_REASONS = {
    Result.NOT_FOUND: (409, "there is no such key"),
    Result.MISMATCH: (409, "the value is not `old`"),
    Result.TOO_MUCH: (413, "with this one, the values that are read are more than batch_size bytes"),
}
"""Why a batch was not done."""


def read_batch(question: Question, route: Route, limits: SizeLimits) -> Batch:
    """The batch in the body of a request. Raises BadRequest, TooLarge or CrossSite."""
    check_site(question.headers)
    if question.query:
        raise BadRequest(f"{route.path} takes no parameters; it takes JSON, as in {EXAMPLE}")
    content_type = question.headers.getRawHeaders(b"content-type", (b"",))[0]
    if parse_options_header(content_type[:MAX_CONTENT_TYPE].decode("latin-1"))[0] != "application/json":
        raise BadRequest(
            f"the body is of type {shown(content_type)}; send JSON, with Content-Type: application/json, as in"
            f" curl --json '{EXAMPLE}'"
        )
    return parse_batch(question.body, limits)


def parse_batch(body: bytes, limits: SizeLimits) -> Batch:
    """The batch that is written so. Raises BadRequest or TooLarge."""
    if len(body) > limits.batch_size:
        raise TooLarge(f"the batch has {len(body)} bytes; the limit, batch_size, is {limits.batch_size}")
    given = _parse_json(body, most_objects=5 * limits.batch_operations)
    if not isinstance(given, list) or not given:
        raise BadRequest(f"the body is not a list of operations; send {EXAMPLE}")
    if len(given) > limits.batch_operations:
        raise TooLarge(
            f"the batch has {len(given)} operations; the limit, batch_operations, is {limits.batch_operations}"
        )
    operations = tuple(_operation(f"[{number}]", each, limits) for number, each in enumerate(given))
    return Batch(operations, max_answer=limits.batch_size)


def answer_of(result: Sequence[OperationResult] | Refused, batch: Batch) -> Answer:
    """The answer for what came of a batch."""
    if isinstance(result, Refused):
        if result.reason not in _REASONS:
            raise OutcomeUnknown("the leader gave a reason that this node does not know: is it a newer version?")
        status, reason = _REASONS[result.reason]
        return Answer(status, f"{_name(result.number, batch)}: {reason}; nothing was done".encode())
    text = json.dumps([_shown(each) for each in result], ensure_ascii=False)
    return Answer(200, text.encode(), content_type=JSON)


def _parse_json(body: bytes, most_objects: int) -> Any:
    def no_number(text: str) -> NoReturn:
        raise BadRequest(f"{shown(text.encode())} is no part of an operation; write {IN_QUOTES}")

    objects = 0

    def make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal objects
        objects += 1
        if objects > most_objects:
            raise TooLarge("the batch has more objects than operations take, which batch_operations limits")
        made = dict(pairs)
        if len(made) < len(pairs):
            raise BadRequest(f"a name is given twice in {shown(json.dumps(made).encode())}")
        return made

    try:
        return json.loads(
            body.decode(),
            object_pairs_hook=make_object,
            parse_int=no_number,
            parse_float=no_number,
            parse_constant=no_number,
        )
    except UnicodeDecodeError:
        raise BadRequest(f"the body is not UTF-8; write {IN_QUOTES}") from None
    except RecursionError:
        raise BadRequest(f"the body nests too deeply; send {EXAMPLE}") from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}; send {EXAMPLE}") from None


def _operation(where: str, given: object, limits: SizeLimits) -> Operation:
    if not isinstance(given, dict) or len(given) != 1:
        raise BadRequest(f"{where} is not one operation, which is an object of one name, as in {EXAMPLE}")
    ((name, fields),) = given.items()
    if name not in OPERATIONS:
        raise BadRequest(f"{where}: there is no operation {_quoted(name)}; there are {', '.join(OPERATIONS)}")
    kind, names = OPERATIONS[name]
    where = f"{where}.{name}"
    if not isinstance(fields, dict):
        raise BadRequest(f"{where} is not an object; {_takes(name)}")
    for field in fields:
        if field not in names:
            raise BadRequest(f"{where} has {_quoted(field)}; {_takes(name)}")
    if len(fields) < len(names):
        missing = next(field for field in names if field not in fields)
        raise BadRequest(f"{where}: {missing} is missing; {_takes(name)}")
    return kind(*[_bytes(f"{where}.{field}", fields[field], field == "key", limits) for field in names])


def _bytes(where: str, given: object, is_key: bool, limits: SizeLimits) -> bytes:
    try:
        match given:
            case str():
                value = given.encode()
            case {"base64": str() as text, **others} if not others:
                value = b64decode(text, validate=True)
            case _:
                raise BadRequest(f"{where} is not {IN_QUOTES}")
    except UnicodeEncodeError:
        raise BadRequest(f"{where} has half of a surrogate pair, which is no text; write {IN_QUOTES}") from None
    except ValueError as error:
        raise BadRequest(f"{where} is not base64: {error}") from None
    check_size(where, value, limits, is_key=is_key)
    return value


def _takes(name: str) -> str:
    names = OPERATIONS[name][1]
    return f"{name} takes " + " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _name(number: int, batch: Batch) -> str:
    """An operation as the caller knows it."""
    kind = type(batch.operations[number])
    return f"[{number}]." + next(name for name, (each, _) in OPERATIONS.items() if each is kind)


def _quoted(text: str) -> str:
    return shown(text.encode("utf-8", "backslashreplace"))


def _shown(result: OperationResult) -> object:
    if not isinstance(result, bytes):
        return result
    try:
        return result.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(result).decode()}
