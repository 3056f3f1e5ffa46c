"""Measure txraft, and others beside it, on this machine.

compare     writes and reads a second, latencies and CPU time, of systems loaded in turn (wants wrk, and etcd for etcd)
failover    seconds from the end of the leader to the next acknowledged write
pysyncobj   the latency of one write and writes a second of PySyncObj (which does not sync), beside txraft's
idle        CPU that each node of three takes while nobody asks anything
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater, react

from tests.arguments import positive
from tests.bench import compare, failover
from tests.bench.load import Disturbed, Work, cpu_seconds, run
from tests.bench.systems import SYSTEMS, running
from tests.integration.ports import reserve_port

CONNECTIONS = [1, 16, 64, 256]


async def _compare(reactor: Any, given: argparse.Namespace) -> None:
    works = [Work(what, each, given.size) for what in given.what for each in given.connections]
    results = await compare.compare(
        reactor, given.systems, works, given.rounds, given.seconds, given.nodes, given.follower
    )
    print(compare.table(results))
    if given.json is not None:
        compare.write(given.json, results)
    if given.picture is not None:
        from tests.bench.picture import draw  # noqa: PLC0415 - matplotlib takes a second

        draw(given.picture, results)


async def _failover(reactor: Any, given: argparse.Namespace) -> None:
    await failover.failover(reactor, given.systems, given.times, given.cut)


async def _pysyncobj(reactor: Any, given: argparse.Namespace) -> None:
    with running(reactor, ["txraft"], 3) as (ours,):
        leader = await ours.leader()
        runs = [
            await run(ours.url(leader), ours.script, Work("set", each), given.seconds, leader.pid, [])
            for each in (1, 64)
        ]
    theirs = pysyncobj(given.seconds)
    print(f"one write:  txraft {runs[0].p50:.2f} ms, PySyncObj {theirs['latency']:.2f} ms")
    print(f"64 writes:  txraft {runs[1].rate:.0f}/s, PySyncObj {theirs['rate']:.0f}/s")
    shorter, more = theirs["latency"] / runs[0].p50, runs[1].rate / theirs["rate"]
    print(f"ratios:     {shorter:.0f} times shorter, {more:.1f} times more")


def pysyncobj(seconds: float) -> dict[str, float]:
    """Three processes of it; what the first of them measured."""
    addresses = [f"127.0.0.1:{reserve_port()}" for _ in range(3)]
    command = [sys.executable, "-m", "tests.bench.pysyncobj_node"]
    with tempfile.TemporaryDirectory(prefix="pysyncobj-bench-") as directory:
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


async def _idle(reactor: Any, given: argparse.Namespace) -> None:
    with running(reactor, ["txraft"], 3) as (system,):
        leader = await system.leader()
        before = [cpu_seconds(node.pid) for node in system.nodes]
        began = time.monotonic()
        await deferLater(reactor, given.seconds)
        passed = time.monotonic() - began
        for node, start in zip(system.nodes, before, strict=True):
            share = (cpu_seconds(node.pid) - start) / passed
            print(f"node {node.id} ({'leader' if node is leader else 'follower'}): {share:.2%} of one core")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    systems = argparse.ArgumentParser(add_help=False)
    systems.add_argument("--systems", nargs="+", choices=sorted(SYSTEMS), default=["txraft"], help="[txraft]")

    command = commands.add_parser("compare", parents=[systems], help="rates, latencies, CPU time")
    command.add_argument(
        "--what",
        nargs="+",
        choices=["set", "post", "get", "stale", "mixed", "batch"],
        default=["set", "get"],
        help="set and post write, batch a hundred keys in a request (txraft alone), get reads linearizably, mixed does"
        " half of each [set get]",
    )
    command.add_argument("--connections", nargs="+", type=positive, default=CONNECTIONS, help="[1 16 64 256]")
    command.add_argument("--size", type=positive, default=255, help="of values, in bytes [%(default)s]")
    command.add_argument("--nodes", type=positive, default=3, help="[%(default)s]")
    command.add_argument("--follower", action="store_true", help="load a follower, not the leader")
    command.add_argument("--rounds", type=positive, default=3, help="of which medians are taken [%(default)s]")
    command.add_argument("--seconds", type=positive, default=3, help="of each run [%(default)s]")
    command.add_argument("--json", type=Path, help="write all figures there")
    command.add_argument("--picture", type=Path, help="draw throughput and latency there, as SVG")
    command.set_defaults(measure=_compare)

    command = commands.add_parser("failover", parents=[systems], help="the end of a leader")
    command.add_argument("--times", type=positive, default=20, help="[%(default)s]")
    command.add_argument("--cut", action="store_true", help="leave its connections open, as where it is cut off")
    command.set_defaults(measure=_failover)

    command = commands.add_parser("pysyncobj", help="beside PySyncObj")
    command.add_argument("--seconds", type=positive, default=5, help="[%(default)s]")
    command.set_defaults(measure=_pysyncobj)

    command = commands.add_parser("idle", help="CPU time while nothing happens")
    command.add_argument("--seconds", type=positive, default=30, help="to watch for [%(default)s]")
    command.set_defaults(measure=_idle)
    return parser


def main() -> None:
    """Read the command line, and measure."""
    given = _parser().parse_args()

    async def measure(reactor: Any) -> None:
        try:
            await given.measure(reactor, given)
        except Disturbed as error:
            raise SystemExit(f"bench: {error}") from None

    with suppress(BrokenPipeError):
        react(lambda reactor: ensureDeferred(measure(reactor)))


if __name__ == "__main__":
    main()
