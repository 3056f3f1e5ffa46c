"""One process of the counter of `txraft.examples`, which measures itself where it is the first, and prints JSON.

Its defaults. As `pysyncobj_counter` is started: DIRECTORY SECONDS OWN-ADDRESS OTHER-ADDRESS...
"""

import json
import statistics
import sys
import time
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from tests.bench.counters import OUTSTANDING, TIMES
from txraft import ObjectService
from txraft.examples.counter import Counter


async def measure(service: ObjectService[Counter], seconds: float) -> dict[str, float]:
    """As that of `pysyncobj_counter`."""
    await service.query(Counter.count, "apples")
    latencies = []
    for _ in range(TIMES):
        began = time.perf_counter()
        await service.call(Counter.add, "apples", 1)
        latencies.append((time.perf_counter() - began) * 1000)
    done, end = 0, time.perf_counter() + seconds

    async def add() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await service.call(Counter.add, "apples", 1)
            done += 1

    await gatherResults([Deferred.fromCoroutine(add()) for _ in range(OUTSTANDING)])
    return {"latency": statistics.median(latencies), "rate": done / seconds}


async def main(reactor: Any, directory: str, seconds: str, own: str, *others: str) -> None:
    """See above."""
    members = dict(enumerate(sorted([own, *others])))
    (id,) = (id for id, address in members.items() if address == own)
    service = ObjectService(reactor, members, id, f"{directory}/{id}", Counter)
    service.startService()
    if not float(seconds):
        raise await service.when_failed()
    print(json.dumps(await measure(service, float(seconds))), flush=True)
    await service.stopService()


if __name__ == "__main__":
    react(main, sys.argv[1:])
