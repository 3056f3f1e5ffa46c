"""A counter on three servers, each in a terminal of its own:

python -m txraft.examples.counter 0 9000       # and 1 9001, and 2 9002
curl -d 2 localhost:9000/apples                # two more, on any of the three
curl localhost:9001/apples                     # how many there are
"""

import sys
from typing import Any

from attrs import define, field
from twisted.internet.task import react
from twisted.web.server import Site

from txraft import CoroutineResource, ObjectService, command, run_on_monotonic_time

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


class Face(CoroutineResource):
    """What is served over HTTP: a POST adds, and a GET reads."""

    def __init__(self, service: ObjectService[Counter]) -> None:
        self.service = service

    async def render_GET(self, request: Any) -> int:
        return await self.service.query(Counter.count, request.path.decode())

    async def render_POST(self, request: Any) -> int:
        more = request.content.read()
        if len(more) > 18:
            raise ValueError("at most 18 digits are counted at a time")
        return await self.service.call(Counter.add, request.path.decode(), int(more))


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
