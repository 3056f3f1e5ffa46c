"""A counter on three servers, each in a terminal of its own:

python -m txraft.examples.counter 0        # and 1, and 2
curl -d 2 localhost:9000/apples            # two more; on any of 9000, 9001 and 9002
curl localhost:9001/apples                 # how many there are
"""

import sys
from typing import Any

from attrs import define, field
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from txraft import ObjectService, command


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


@define
class Face(Resource):
    """What is served over HTTP."""

    service: ObjectService[Counter]
    isLeaf = True

    def render(self, request: Any) -> int:
        """A POST adds, and a GET reads."""
        name, body = request.path.decode(), request.content.read()
        done = self.service.call(Counter.add, name, int(body)) if body else self.service.query(Counter.count, name)
        done.addCallbacks(lambda count: b"%d\n" % count, lambda failure: b"%s\n" % failure.getErrorMessage().encode())
        done.addCallback(request.write).addCallback(lambda _: request.finish())
        return NOT_DONE_YET


async def main(reactor: Any, id: str) -> None:
    """One server, until it fails."""
    members = {number: f"localhost:{9100 + number}" for number in range(3)}
    service = ObjectService(reactor, members, int(id), f"counter/{id}", Counter)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    service.startService()
    reactor.listenTCP(9000 + int(id), Site(Face(service)))
    raise await service.when_failed()


if __name__ == "__main__":
    react(main, sys.argv[1:])
