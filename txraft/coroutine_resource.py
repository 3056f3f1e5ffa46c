"""HTTP for a program that asks a service: a resource of `twisted.web` whose methods may wait.

    class Face(CoroutineResource):
        async def render_GET(self, request: Request) -> int:
            return await service.query(Counter.count, "apples")

What such a method gives is the answer, as a line of text. What it raises is a line, too, and its status says what came
of the request:

| raised | status | |
| --- | --- | --- |
| `ValueError`, `BadCommand` | 400 | it makes no sense, and nothing was done |
| `CommandFailed` | 409 | the object's own answer is no |
| `NotApplied`, `OutcomeUnknown` | 503 | it was not done, or may have been, as the line says |
| anything else | 500 | the log has it |
"""

from collections.abc import Coroutine
from http.client import BAD_REQUEST, CONFLICT, INTERNAL_SERVER_ERROR, OK, SERVICE_UNAVAILABLE
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from txraft.errors import BadCommand, CommandFailed, NotApplied, OutcomeUnknown

_log = Logger()


class CoroutineResource(Resource):
    """A leaf: it has the whole path. For each method of HTTP that it knows it has a coroutine, `render_GET` say."""

    isLeaf = True

    def render(self, request: Any) -> int:
        """As twisted.web has it; the answer comes when it is known."""
        render: Any = super().render  # which has no types; it calls render_GET, or whichever it is
        Deferred.fromCoroutine(_finish(request, render(request)))
        return NOT_DONE_YET


async def _finish(request: Any, answer: Coroutine[Any, Any, object]) -> None:
    status, text = await _outcome(answer)
    if request.channel is None:  # who asked has gone
        return
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")  # a browser takes nobody's text for a page
    request.write(f"{text}\n".encode(errors="backslashreplace"))
    request.finish()


async def _outcome(answer: Coroutine[Any, Any, object]) -> tuple[int, str]:
    try:
        return OK, str(await answer)
    except (ValueError, BadCommand) as error:
        return BAD_REQUEST, str(error)
    except CommandFailed as error:
        return CONFLICT, str(error)
    except (NotApplied, OutcomeUnknown) as error:
        return SERVICE_UNAVAILABLE, str(error)
    except Exception:
        _log.failure("a request cannot be answered")
        return INTERNAL_SERVER_ERROR, "this server has a fault, which its log has"
