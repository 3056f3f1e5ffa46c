"""`/batch`: a JSON list of operations to one command, and what came of it to a JSON list.

[{"set": {"key": "a", "val": "1"}}, {"get": {"key": "b"}}]  is answered  [true, null]

A text that is not UTF-8 is written, and answered, as {"base64": "/w=="}; so is answered what has control characters
other than tabs and the ends of lines, each of which would take six bytes of JSON. A set and a compare-and-set are
answered true, a delete whether there was such a key, a get with the value, or null where there is none.

JSON is bounded before it is read (hazard N1): its bytes, its texts, and what stands around them, because a MiB of empty
objects takes ten times as long to read as a MiB of values. No number is made of what looks like one, and the standard
library reads what nests deeply no further than the interpreter's limit of recursion. What came of a batch is read, and
written as JSON, when its turn comes (`LaterAnswer`): those who wait for many batches hear of them together.
"""

import json
import re
from base64 import b64decode
from collections import Counter
from functools import partial
from typing import Any

from multipart import parse_options_header  # type: ignore[import-untyped]  # it has no annotations

from txraft.errors import BadRequest, OutcomeUnknown, TooLarge
from txraft.kv.commands import Batch, Operation, OperationResult, Refused, Result, decode_batch_result
from txraft.kv.commands_in_json import OPERATIONS, text_or_base64
from txraft.settings import SizeLimits
from txraft.web.forms import MAX_CONTENT_TYPE, shown, type_of_body
from txraft.web.outcomes import JSON, Answer, LaterAnswer
from txraft.web.parameters import Route, check_site, check_size
from txraft.web.question import Question

EXAMPLE = (
    '[{"set": {"key": K, "val": V}}, {"get": {"key": K}}, {"delete": {"key": K}},'
    ' {"cas": {"key": K, "old": O, "val": V}}]'
)
TEXTS_OF_ONE = 10
SIGNS_OF_ONE = 20
"""A cas has most: as many texts with their names, and as many braces, colons and commas around them."""

SHARE_OF_ANSWERS = 2
COST_OF_RESULT = 40
"""To write an answer takes, at most, as long as to read one byte of a form for each SHARE_OF_ANSWERS bytes of what came
of the batch, and COST_OF_RESULT for each of its operations."""

MAX_READ = 64 * 1024
"""The values that a batch reads, all together, in bytes. What a command gives shares a connection with heartbeats, from
node to node (`IStateMachine`), and waits in memory with what others gave (hazards N2 and C9)."""

IN_QUOTES = 'a text in quotes, or {"base64": "..."} for bytes that are not UTF-8'

_TEXT = re.compile(rb'"[^"\\]*+(?:\\.?[^"\\]*+)*+"?', re.DOTALL)
"""From its first quote to its last, or to the end of the body."""
_NO_TEXT = object()
"""What is made of a number."""

_REASONS = {
    Result.NOT_FOUND: (409, "there is no such key"),
    Result.MISMATCH: (409, "the value is not `old`"),
    Result.TOO_MUCH: (413, f"with this one, the values that are read are more than {MAX_READ} bytes"),
}
"""Why a batch was not done."""


def read_batch(question: Question, route: Route, limits: SizeLimits) -> Batch:
    """The batch in the body of a request. Raises BadRequest, TooLarge or CrossSite."""
    check_site(question)
    if question.query:
        raise BadRequest(f"{route.path} takes no parameters; it takes JSON, as in {EXAMPLE}")
    content_type = question.head.content_type
    if parse_options_header(content_type[:MAX_CONTENT_TYPE].decode("latin-1"))[0] != "application/json":
        raise BadRequest(
            f"{type_of_body(content_type)}; send JSON, with Content-Type: application/json, as in curl --json"
            f" '{EXAMPLE}'"
        )
    return parse_batch(question.body, limits)


def parse_batch(body: bytes, limits: SizeLimits) -> Batch:
    """The batch that is written so. Raises BadRequest or TooLarge."""
    if len(body) > limits.batch_size:
        raise TooLarge(f"the batch has {len(body)} bytes; the limit, batch_size, is {limits.batch_size}")
    most = limits.batch_operations
    if _has_more_than(most, body):
        raise TooLarge(f"the batch has more in it than {most} operations take; the limit, batch_operations, is {most}")
    given = _parse_json(body)
    if not isinstance(given, list):
        raise BadRequest(f"the body is not a list of operations; send {EXAMPLE}")
    if not given:
        raise BadRequest(f"the list has no operation; send {EXAMPLE}")
    if len(given) > most:
        raise TooLarge(f"the batch has {len(given)} operations; the limit, batch_operations, is {most}")
    operations = tuple(_operation(f"[{number}]", each, limits) for number, each in enumerate(given))
    return Batch(operations, max_answer=MAX_READ)


def of_batch_result(data: bytes, batch: Batch) -> LaterAnswer:
    """The answer for what the state machine gave for a batch."""
    cost = len(data) // SHARE_OF_ANSWERS + COST_OF_RESULT * len(batch.operations)
    return LaterAnswer(partial(_answer_of, data, batch), cost, held=len(data))


def _answer_of(data: bytes, batch: Batch) -> Answer:
    result = decode_batch_result(data)
    if isinstance(result, Refused):
        if result.reason not in _REASONS:
            raise OutcomeUnknown("the leader gave a reason that this node does not know: is it a newer version?")
        status, reason = _REASONS[result.reason]
        return Answer(status, f"{_name(result.number, batch)}: {reason}; nothing was done".encode())
    text = json.dumps([_shown(each) for each in result], ensure_ascii=False)
    return Answer(200, text.encode(), content_type=JSON)


def _has_more_than(operations: int, body: bytes) -> bool:
    """Whether JSON has more texts than so many operations, or more signs around them, blanks aside. What the texts
    beyond those have in them counts as signs."""
    most_signs = SIGNS_OF_ONE * operations + len("[]")
    if len(body) <= most_signs:
        return False
    signs = _TEXT.sub(b"", body, TEXTS_OF_ONE * operations)
    return len(signs.translate(None, b" \t\r\n")) > most_signs


def _parse_json(body: bytes) -> Any:
    try:
        return json.loads(
            body.decode(),
            object_pairs_hook=_object,
            parse_int=lambda _: _NO_TEXT,
            parse_float=lambda _: _NO_TEXT,
            parse_constant=lambda _: _NO_TEXT,
        )
    except UnicodeDecodeError:
        raise BadRequest(f"the body is not UTF-8; write {IN_QUOTES}") from None
    except RecursionError:
        raise BadRequest(f"the body nests too deeply; send {EXAMPLE}") from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}; send {EXAMPLE}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise BadRequest(f"the name {_quoted(twice)} is given twice in an object")
    return made


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
    return text_or_base64(result) if isinstance(result, bytes) else result
