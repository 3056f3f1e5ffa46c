"""Measure txraft, and others beside it, on this machine.

compare     requests a second, latencies, CPU time and bytes between nodes, of systems loaded in turn
grow        how that of txraft changes with the number of keys, of nodes and of clients, and with the size of values
failover    seconds from the end of the leader to the next acknowledged write
elections   whether a leader stays one under load, with given timeouts
pysyncobj   the same replicated counter with PySyncObj (which does not sync) and txraft: one increment, and 64 at once
idle        CPU that each node of three takes while nobody asks anything
restart     seconds from kill -9 of all nodes until they serve a store of many keys; memory and disk of each
catchup     a node that first starts beside a store of many keys, under steady writes, and what that costs those
overwrites  memory and disk while a few keys are written again and again, and the restart afterwards
members     what changes of the membership cost those who write; a dead node replaced in a store of many keys
rolling     each node restarted in turn while clients write: their errors, and the longest gap
soak        memory and disk under a steady pace of writes, for as long as is asked for

They want wrk, curl and ss, and etcd where it is measured; the last six neither wrk nor ss. Data is kept in TMPDIR, or
in /tmp. A run (of compare, grow) in which a request failed is refused; one during which others had more than
15% of the machine is done again, and refused the third time. With BENCH_ANYWAY=1 in the environment the first run
counts, however busy the machine is. The last six only tell what share others had.
"""

import argparse
import resource
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from tests.arguments import positive
from tests.bench import compare, counters, failover, grow, large
from tests.bench.elections import elections
from tests.bench.load import STOPPED, Work, cpu_seconds, keys_for
from tests.bench.needs import cramped, missing, unwritable
from tests.bench.systems import SYSTEMS, Txraft, running
from txraft.errors import SettingsError
from txraft.settings import Timing

CONNECTIONS = [1, 16, 64, 256]
OPEN_FILES = 4096
"""What the nodes and wrk may have: room for a thousand clients."""


async def _compare(reactor: Any, given: argparse.Namespace) -> None:
    works = [
        Work(what, each, size, keys_for(size))
        for size in given.sizes
        for what in given.what
        for each in given.connections
    ]
    measured = await compare.compare(
        reactor, given.systems, works, given.rounds, given.seconds, given.nodes, given.follower
    )

    def draw(path: Path) -> None:
        from tests.bench.picture import draw  # noqa: PLC0415 - matplotlib takes a second

        draw(path, measured.results, given.nodes)

    _report(given, measured, compare.table, draw)


async def _grow(reactor: Any, given: argparse.Namespace) -> None:
    measured = await grow.grow(reactor, given.what, given.rounds, given.seconds)

    def draw(path: Path) -> None:
        from tests.bench.picture import draw_growth  # noqa: PLC0415 - the same

        draw_growth(path, given.what, measured.results)

    _report(given, measured, partial(grow.table, given.what), draw)


def _report(
    given: argparse.Namespace,
    measured: compare.Measured[Any],
    table: Callable[[Any], str],
    draw: Callable[[Path], None],
) -> None:
    """Print and write what was measured, be it all or not. Exits where something is missing."""
    complaints = []
    if measured.results:
        print(table(measured.results), flush=True)
        for path, put in ((given.json, partial(compare.write, measured=measured)), (given.picture, draw)):
            try:
                if path is not None:
                    put(path)
            except OSError as error:
                complaints.append(f"cannot write {path}: {error.strerror}")
    if measured.complaint is not None:
        complaints.append(measured.complaint)
    if complaints:
        raise SystemExit("\n".join(f"bench: {each}" for each in complaints))


async def _failover(reactor: Any, given: argparse.Namespace) -> None:
    await failover.failover(reactor, given.systems, given.times, given.cut)


async def _elections(reactor: Any, given: argparse.Namespace) -> None:
    try:
        timing = Timing(election_timeout=given.election_timeout, heartbeat_interval=given.heartbeat_interval)
    except SettingsError as error:
        raise SystemExit(f"bench: {error}") from None
    await elections(reactor, given.seconds, given.connections, timing)


async def _pysyncobj(_: Any, given: argparse.Namespace) -> None:
    try:
        counters.compare(given.seconds, given.rounds)
    except subprocess.SubprocessError as error:
        raise SystemExit(f"bench: a counter was not measured: {error}") from None


async def _idle(reactor: Any, given: argparse.Namespace) -> None:
    with running(reactor, [Txraft], 3) as (system,):
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
    parser.set_defaults(systems=[], json=None, picture=None, room=lambda _given: 0)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    systems, runs = argparse.ArgumentParser(add_help=False), argparse.ArgumentParser(add_help=False)
    systems.add_argument("--systems", nargs="+", choices=sorted(SYSTEMS), default=["txraft"], help="[txraft]")
    runs.add_argument("--rounds", type=positive, default=3, help="of which medians are taken [%(default)s]")
    runs.add_argument("--json", type=Path, help="write all figures there")
    runs.add_argument("--picture", type=Path, help="draw them there, as SVG")

    def add(name: str, **options: Any) -> argparse.ArgumentParser:
        return commands.add_parser(name, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    command = add(
        "compare",
        parents=[systems, runs],
        help="rates, latencies, CPU time, bytes",
        epilog=f"In the table:\n{compare.LEGEND}\n{compare.BATCH}",
    )
    command.add_argument(
        "--what",
        nargs="+",
        choices=["set", "post", "get", "stale", "mixed", "batch"],
        default=["set", "get"],
        help="set and post write, batch a hundred keys in a request, get reads linearizably, stale what the node has"
        " (etcd: serializable), mixed sets and gets by halves [set get]",
    )
    command.add_argument("--connections", nargs="+", type=positive, default=CONNECTIONS, help="[1 16 64 256]")
    command.add_argument(
        "--sizes", nargs="+", type=positive, default=[255], help="of values, in bytes, at most a MiB [255]"
    )
    command.add_argument("--nodes", type=positive, default=3, help="[%(default)s]")
    command.add_argument("--follower", action="store_true", help="load a follower, not the leader")
    command.add_argument("--seconds", type=positive, default=3, help="of each run [%(default)s]")
    command.set_defaults(measure=_compare, wants=["wrk", "ss", "tabulate"])

    command = add(
        "grow", parents=[runs], help="how cost grows; some five minutes", epilog=f"In the table:\n{compare.LEGEND}"
    )
    command.add_argument("--what", nargs="+", choices=list(grow.GROWTH), default=list(grow.GROWTH), help="[all]")
    command.add_argument("--seconds", type=positive, default=2, help="of each run [%(default)s]")
    command.set_defaults(measure=_grow, wants=["wrk", "ss", "tabulate"])

    command = add("failover", parents=[systems], help="the end of a leader")
    command.add_argument("--times", type=positive, default=20, help="[%(default)s]")
    command.add_argument("--cut", action="store_true", help="leave its connections open, as where it is cut off")
    command.set_defaults(measure=_failover, wants=["curl"])

    command = add("elections", help="a leader under load")
    command.add_argument("--seconds", type=positive, default=600, help="[%(default)s]")
    command.add_argument("--connections", type=positive, default=256, help="[%(default)s]")
    for name in ("election_timeout", "heartbeat_interval"):
        option = f"--{name.replace('_', '-')}"
        command.add_argument(option, type=positive, default=getattr(Timing(), name), help="in ms [%(default)g]")
    command.set_defaults(measure=_elections, wants=["wrk"])

    command = add("pysyncobj", help="beside PySyncObj")
    command.add_argument("--seconds", type=positive, default=5, help="[%(default)s]")
    command.add_argument("--rounds", type=positive, default=3, help="[%(default)s]")
    command.set_defaults(measure=_pysyncobj, wants=["pysyncobj"])

    command = add("idle", help="CPU time while nothing happens")
    command.add_argument("--seconds", type=positive, default=30, help="to watch for [%(default)s]")
    command.set_defaults(measure=_idle, wants=[])
    large.add_commands(add, systems)
    return parser


def _lacking(given: argparse.Namespace) -> str | None:
    """Why it cannot be measured, or the results not be written, in one line."""
    wants = [*given.wants, *(program for name in given.systems for program in SYSTEMS[name].programs)]
    if given.picture is not None:
        wants.append("matplotlib")
    paths = [path for path in (given.json, given.picture) if path is not None]
    said = missing(wants) or next((said for path in paths if (said := unwritable(path))), None)
    return said or cramped(given.room(given))


def main() -> None:
    """Read the command line, and measure."""
    given = _parser().parse_args()
    if (lacking := _lacking(given)) is not None:
        raise SystemExit(f"bench: {lacking}")

    async def measure(reactor: Any) -> None:
        try:
            await given.measure(reactor, given)
        except STOPPED as error:
            raise SystemExit(f"bench: {str(error) or 'interrupted'}") from None

    def end(measuring: Deferred[None]) -> Deferred[None]:
        ended: Deferred[None] = Deferred()
        measuring.addBoth(ended.callback)
        measuring.cancel()
        return ended

    def start(reactor: Any) -> Deferred[None]:
        measuring = Deferred.fromCoroutine(measure(reactor))
        reactor.addSystemEventTrigger("before", "shutdown", end, measuring)  # no node outlives this process
        return measuring

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # which the nodes and wrk inherit
    if soft < OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard), hard))
    with suppress(BrokenPipeError):
        react(start)


if __name__ == "__main__":
    main()
