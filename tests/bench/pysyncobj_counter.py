"""One process of a replicated counter with PySyncObj, which measures itself where it is the first, and prints JSON.

Its defaults, with the journal on. The journal is written and not synced: what it acknowledges, a power cut takes back.
DIRECTORY SECONDS OWN-ADDRESS OTHER-ADDRESS..., as `txraft_counter` is started, too.
"""

import json
import statistics
import sys
import threading
import time
from pathlib import Path

from pysyncobj import SyncObj, SyncObjConf, replicated

from tests.bench.counters import OUTSTANDING, TIMES


class Counter(SyncObj):  # type: ignore[misc]  # it has no annotations
    """What is counted."""

    def __init__(self, own: str, others: list[str], directory: Path) -> None:
        self._counts: dict[str, int] = {}
        self.ready = threading.Event()
        journal = str(directory / own.replace(":", "-"))
        super().__init__(own, others, SyncObjConf(journalFile=journal, onReady=self.ready.set))

    @replicated  # type: ignore[untyped-decorator]  # the same
    def add(self, name: str, more: int) -> int:
        """Gives how many there are."""
        self._counts[name] = self._counts.get(name, 0) + more
        return self._counts[name]


def measure(counter: Counter, seconds: float) -> dict[str, float]:
    """The latency of one increment at a time, in milliseconds, and increments a second with 64 under way."""
    counter.ready.wait()
    latencies = []
    for _ in range(TIMES):
        began = time.perf_counter()
        counter.add("apples", 1, sync=True, timeout=10)
        latencies.append((time.perf_counter() - began) * 1000)
    free, done = threading.Semaphore(OUTSTANDING), 0
    end = time.perf_counter() + seconds

    def added(_result: object, _error: object) -> None:
        nonlocal done
        done += 1
        free.release()

    while time.perf_counter() < end:
        free.acquire()
        counter.add("apples", 1, callback=added)
    return {"latency": statistics.median(latencies), "rate": done / seconds}


def main() -> None:
    """See above."""
    directory, seconds, own, *others = sys.argv[1:]
    counter = Counter(own, others, Path(directory))
    if float(seconds):
        print(json.dumps(measure(counter, float(seconds))), flush=True)
    else:
        sys.stdin.read()  # until the first is done


if __name__ == "__main__":
    main()
