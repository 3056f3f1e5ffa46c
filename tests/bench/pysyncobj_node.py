"""One process of a PySyncObj cluster, which measures itself where it is the first, and prints JSON.

Its defaults, with the journal on. The journal is written and not synced: what it acknowledges, a power cut takes back.
"""

import json
import statistics
import sys
import threading
import time
from pathlib import Path

from pysyncobj import SyncObj, SyncObjConf, replicated

VALUE = "v" * 255
OUTSTANDING = 64


class Values(SyncObj):  # type: ignore[misc]  # it has no annotations
    """Keys and values."""

    def __init__(self, own: str, others: list[str], directory: Path) -> None:
        self._values: dict[str, str] = {}
        self.ready = threading.Event()
        journal = str(directory / own.replace(":", "-"))
        super().__init__(own, others, SyncObjConf(journalFile=journal, onReady=self.ready.set))

    @replicated  # type: ignore[untyped-decorator]  # the same
    def set(self, key: str, value: str) -> None:
        """Give a key a value."""
        self._values[key] = value


def measure(values: Values, seconds: float) -> dict[str, float]:
    """The latency of one write at a time, in milliseconds, and writes a second with 64 under way."""
    values.ready.wait()
    latencies = []
    for number in range(30):
        began = time.perf_counter()
        values.set(f"key{number}", VALUE, sync=True, timeout=10)
        latencies.append((time.perf_counter() - began) * 1000)
    free, done = threading.Semaphore(OUTSTANDING), 0
    end = time.perf_counter() + seconds

    def written(_result: object, _error: object) -> None:
        nonlocal done
        done += 1
        free.release()

    while time.perf_counter() < end:
        free.acquire()
        values.set(f"key{done % 10000}", VALUE, callback=written)
    return {"latency": statistics.median(latencies), "rate": done / seconds}


def main() -> None:
    """DIRECTORY SECONDS OWN-ADDRESS OTHER-ADDRESS..."""
    directory, seconds, own, *others = sys.argv[1:]
    values = Values(own, others, Path(directory))
    if float(seconds):
        print(json.dumps(measure(values, float(seconds))), flush=True)
    else:
        sys.stdin.read()  # until the first is done


if __name__ == "__main__":
    main()
