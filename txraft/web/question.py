"""A request that has come whole, and the way to its answer. Both ways to read a request end here: Twisted's parser
(`txraft.web.request`) and the shorter one for heads that are known (`txraft.web.fast_path`)."""

from typing import TYPE_CHECKING

from attrs import define
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from txraft.web.outcomes import Answer

if TYPE_CHECKING:
    from txraft.web.channel import ApiChannel

COST_OF_ANSWERS = 8
"""To send so many bytes takes as long as to read one of a form."""


@define(eq=False)
class Question:
    """What one client asks."""

    channel: "ApiChannel"
    method: bytes
    path: bytes
    query: bytes
    """What stands behind the `?`."""
    headers: Headers
    body: bytes

    @property
    def length(self) -> int:
        """Of the target and the body, in bytes."""
        return len(self.path) + len(self.query) + len(self.body)

    @property
    def lost(self) -> bool:
        """There is nobody to answer: the client has gone, or has been refused."""
        return self.channel.refused

    def drop_body(self) -> None:
        """It has been read, or never will be."""
        self.body = b""

    def answer(self, answer: Answer) -> None:
        """Send the answer, now or later."""
        if not self.lost:
            self.channel.site.long_jobs.run(len(answer.body) // COST_OF_ANSWERS, self._send, answer)

    def _send(self, answer: Answer) -> None:
        if not self.lost:
            self.channel.answer(self, answer)

    def connectionLost(self, reason: Failure) -> None:
        """The client has gone. What it asked for goes its way all the same."""
