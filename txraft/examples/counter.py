"""A counter on three servers, each in a terminal of its own:

python -m txraft.examples.counter 0 9000       # and 1 9001, and 2 9002
curl -d 2 localhost:9000/apples                # two more, on any of the three
curl localhost:9001/apples                     # how many there are
"""

import sys
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from txraft import ObjectService, TxraftError, command, run_on_monotonic_time

MEMBERS = {0: "localhost:9100", 1: "localhost:9101", 2: "localhost:9102"}


@define
class Counter:
    """What is replicated."""

    counts: dict[str, int] = field(factory=dict)

    @command
    def add(self, name: str, more: int) -> int:
        """Gives how many there are."""
        self.counts[name] = self.counts.get(name, 0) + more
        return self.counts[name]

    def count(self, name: str) -> int:
        """How many there are."""
        return self.counts.get(name, 0)


class Face(Resource):
    """What is served over HTTP: a POST adds, and a GET reads."""

    isLeaf = True

    def __init__(self, service: ObjectService[Counter]) -> None:
        self.service = service

    def render(self, request: Any) -> int:
        """Answer when it is known what came of it."""
        Deferred.fromCoroutine(self.answer(request))
        return NOT_DONE_YET

    async def answer(self, request: Any) -> None:
        """In a line: 400 for what makes no sense, and 503 for what was not done, or may have been, as the line says."""
        line: object
        try:
            name, more = request.path.decode(), request.content.read()
            if request.method == b"POST":
                line = await self.service.call(Counter.add, name, int(more))
            else:
                line = await self.service.query(Counter.count, name)
        except (ValueError, TxraftError) as error:
            request.setResponseCode(400 if isinstance(error, ValueError) else 503)
            line = error
        if request.channel is not None:  # who asked is still there
            request.write(f"{line}\n".encode())
            request.finish()


async def main(reactor: Any, id: str, port: str) -> None:
    """One server, until it fails."""
    run_on_monotonic_time(reactor)
    service = ObjectService(reactor, MEMBERS, int(id), f"counter/{id}", Counter)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    service.startService()
    reactor.listenTCP(int(port), Site(Face(service)))
    raise await service.when_failed()


if __name__ == "__main__":
    react(main, sys.argv[1:])
