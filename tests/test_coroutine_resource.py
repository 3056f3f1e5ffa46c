"""What a resource whose methods may wait answers."""

import gc
from io import BytesIO
from typing import Any

from treq.testing import StubTreq
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import Request
from twisted.web.test.requesthelper import DummyChannel

from txraft import BadCommand, CommandFailed, CoroutineResource, NotApplied, OutcomeUnknown


class Face(CoroutineResource):
    """Answers what a Deferred gives."""

    def __init__(self, answer: "Deferred[Any]") -> None:
        self.answer = answer

    async def render_GET(self, request: Request) -> object:  # noqa: ARG002  as Resource has it
        return await self.answer


class CoroutineResourceTests(SynchronousTestCase):
    def ask(self, answer: "Deferred[Any]", method: str = "GET") -> tuple[int, str]:
        client: Any = StubTreq(Face(answer))
        asked = client.request(method, "http://localhost/a/path")
        client.flush()
        response = self.successResultOf(asked)
        self.type = response.headers.getRawHeaders("content-type")
        return response.code, self.successResultOf(response.text())

    def test_answer(self) -> None:
        """A line of text, which no browser takes for a page."""
        for given, line in ((5, "5"), ("<b>\xe4", "<b>\xe4"), ("\ud800", "\\ud800"), (None, "None")):
            self.assertEqual(self.ask(succeed(given)), (200, f"{line}\n"))
            self.assertEqual(self.type, ["text/plain; charset=utf-8"])
        self.assertEqual(self.ask(succeed(5), "HEAD"), (200, ""))

    def test_errors(self) -> None:
        """The status says whose fault it is, and the line what came of the request."""
        for error, status in (
            (ValueError("no number"), 400),
            (BadCommand("no command"), 400),
            (CommandFailed("ValueError: not enough money"), 409),
            (NotApplied("not applied"), 503),
            (OutcomeUnknown("unknown"), 503),
        ):
            self.assertEqual(self.ask(fail(error)), (status, f"{error}\n"))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_fault(self) -> None:
        """Of the program's own: the log has it, and nobody else."""
        self.assertEqual(self.ask(fail(KeyError("secret"))), (500, "this server has a fault, which its log has\n"))
        self.assertEqual([str(each.value) for each in self.flushLoggedErrors(KeyError)], ["'secret'"])

    def test_unknown_method(self) -> None:
        """As twisted.web has it."""
        self.assertEqual(self.ask(succeed(5), "POST")[0], 405)

    def test_gone(self) -> None:
        """Who does not wait for the answer makes no error."""
        waiting: Deferred[int] = Deferred()
        request = Request(DummyChannel(), False)  # type: ignore[arg-type]  # it does for one
        request.method, request.path, request.content = b"GET", b"/apples", BytesIO()
        Face(waiting).render(request)
        request.connectionLost(Failure(ConnectionDone()))
        waiting.callback(1)
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])
