"""The same replicated counter with PySyncObj and with txraft, each on three processes, asked within one of them."""

import json
import statistics
import subprocess
import sys
import tempfile
from typing import Final

from tests.integration.ports import reserve_port

OUTSTANDING: Final = 64
TIMES: Final = 30
"""That one increment at a time is waited for."""


def measure(program: str, seconds: float) -> dict[str, float]:
    """What the first of three processes of `program` measures: `latency`, in ms, and `rate`, a second. Raises
    subprocess.SubprocessError."""
    addresses = [f"127.0.0.1:{reserve_port()}" for _ in range(3)]
    command = [sys.executable, "-m", f"tests.bench.{program}"]
    with tempfile.TemporaryDirectory(prefix="counter-bench-") as directory:
        others = [
            subprocess.Popen(
                [*command, directory, "0", own, *(each for each in addresses if each != own)], stdin=subprocess.PIPE
            )
            for own in addresses[1:]
        ]
        try:
            first = subprocess.run(
                [*command, directory, str(seconds), *addresses], stdout=subprocess.PIPE, timeout=120, check=True
            )
        finally:
            for other in others:
                other.kill()
                other.wait()
    found: dict[str, float] = json.loads(first.stdout)
    return found


def compare(seconds: float, rounds: int) -> None:
    """One after the other, in turn; a line for each, and the medians."""
    found: dict[str, list[dict[str, float]]] = {"txraft": [], "pysyncobj": []}
    for number in range(rounds):
        for name in sorted(found, reverse=number % 2 == 0):
            found[name].append(measured := measure(f"{name}_counter", seconds))
            print(f"{name}: one {measured['latency']:.2f} ms, with 64 {measured['rate']:.0f}/s", flush=True)
    ours, theirs = (
        {what: statistics.median(each[what] for each in found[name]) for what in ("latency", "rate")}
        for name in ("txraft", "pysyncobj")
    )
    print(f"one increment:  txraft {ours['latency']:.2f} ms, PySyncObj {theirs['latency']:.2f} ms")
    print(f"64 under way:   txraft {ours['rate']:.0f}/s, PySyncObj {theirs['rate']:.0f}/s")
    shorter, more = theirs["latency"] / ours["latency"], ours["rate"] / theirs["rate"]
    print(f"ratios:         {shorter:.0f} times shorter, {more:.1f} times more")
