"""What the counter answers over HTTP, without servers. `tests/integration/test_examples.py` has the rest."""

from typing import Any

from attrs import define, field
from treq.testing import StubTreq
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from txraft.examples.counter import Counter, Face


@define
class Service:
    """What is asked of an ObjectService, at once."""

    counter: Counter = field(factory=Counter)

    def call(self, method: Any, *args: Any) -> "Deferred[Any]":
        """As ObjectService."""
        return succeed(method(self.counter, *args))

    query = call


class CounterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.service = Service()
        self.client: Any = StubTreq(Face(self.service))  # type: ignore[arg-type]  # it does for one

    def answer(self, method: str, data: bytes | None = None, path: str = "apples") -> tuple[int, str]:
        asked = self.client.request(method, f"http://localhost/{path}", data=data)
        self.client.flush()
        answer = self.successResultOf(asked)
        return answer.code, self.successResultOf(answer.text())

    def test_counted(self) -> None:
        """A number in a line."""
        self.assertEqual(self.answer("GET"), (200, "0\n"))
        self.assertEqual(
            [self.answer("POST", more) for more in (b"2", b"-1", b"0")], [(200, f"{n}\n") for n in (2, 1, 1)]
        )
        self.assertEqual(self.answer("GET"), (200, "1\n"))

    def test_nonsense(self) -> None:
        """It is the caller's fault, in a line; nothing is done."""
        for data in (b"x", b"", b"1.5", b"\xff", b"9" * 19, b"9" * 5000):
            status, line = self.answer("POST", data)
            self.assertEqual((status, line.count("\n"), line[-1]), (400, 1, "\n"), line)
        self.assertEqual(self.service.counter.counts, {})
