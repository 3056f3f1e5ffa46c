"""The commands of large stores and of many writes, beside those in `__main__`."""

import argparse
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.arguments import positive
from tests.bench import catchup, compare, members, overwrites, restart, rolling, soak

NODES: Final = 3
"""Of a cluster."""
OVERHEAD: Final = 1000
"""Bytes that a write takes at most on the disk of one node, beside its value, where nothing is compacted."""
BOUNDED: Final = 1_000_000
"""Overwrites, beyond which the data of txraft's nodes do not grow: more than their logs keep."""


def add_commands(add: Callable[..., argparse.ArgumentParser], systems: argparse.ArgumentParser) -> None:
    """`add` makes a parser of a name and options, `systems` is the one for --systems."""
    filled, stored = argparse.ArgumentParser(add_help=False), argparse.ArgumentParser(add_help=False)
    stored.add_argument("--size", type=positive, default=256, help="of a value, in bytes [%(default)s]")
    stored.add_argument("--json", type=Path, help="write all figures there, also where it was interrupted")
    filled.add_argument("--keys", type=positive, default=1_000_000, help="a small size to try it: 10000 [%(default)s]")
    filled.add_argument(
        "--fill",
        choices=["single", "batch"],
        default="single",
        help="an entry of the log for each key, as clients leave it, or one for many, which is quicker and leaves a"
        " short log: etcd sends a new node its entries as long as there are fewer than 100,000 [%(default)s]",
    )

    command = add("restart", parents=[systems, filled, stored], help="kill -9 of all", epilog=restart.NOTES)
    command.add_argument("--times", type=positive, default=3, help="of which medians are taken [%(default)s]")
    command.set_defaults(measure=_restart, wants=["tabulate"], room=lambda given: _room(given.keys, given.size))

    command = add("catchup", parents=[systems, filled, stored], help="a new node", epilog=catchup.NOTES)
    command.add_argument("--rate", type=positive, default=500, help="of writes, a second [%(default)s]")
    command.add_argument("--seconds", type=positive, default=20, help="before and afterwards [%(default)s]")
    command.set_defaults(measure=_catchup, wants=["tabulate"], room=lambda given: _room(given.keys, given.size))

    command = add("overwrites", parents=[systems, stored], help="the same keys again", epilog=overwrites.NOTES)
    command.add_argument(
        "--count", type=positive, default=5_000_000, help="of overwrites; to try it: 10000 [%(default)s]"
    )
    command.add_argument("--keys", type=positive, default=1000, help="[%(default)s]")
    command.add_argument(
        "--how", nargs="+", choices=["batch", "single"], default=["batch", "single"], help="[batch single]"
    )
    command.set_defaults(measure=_overwrites, wants=["tabulate"], room=_room_for_overwrites)

    command = add("soak", parents=[systems, stored], help="a steady pace", epilog=f"A day is {soak.GOAL:,} writes.")
    command.add_argument("--rate", type=positive, default=1000, help="of writes, a second [%(default)s]")
    command.add_argument("--keys", type=positive, default=10_000, help="that are overwritten in turn [%(default)s]")
    command.add_argument("--seconds", type=positive, default=3600, help="[%(default)s]")
    command.add_argument("--every", type=positive, default=60, help="seconds between two looks [%(default)s]")
    command.set_defaults(measure=_soak, wants=[])

    command = add(
        "members",
        parents=[systems, stored],
        help="changes of the membership",
        epilog=f"{members.__doc__}\n{members.NOTES}",
    )
    command.add_argument("--rate", type=positive, default=500, help="of writes, a second [%(default)s]")
    command.add_argument("--keys", type=positive, default=100_000, help="to try it: 5000 [%(default)s]")
    command.add_argument("--times", type=positive, default=3, help="that a dead node is replaced [%(default)s]")
    command.set_defaults(
        measure=_members, wants=["tabulate"], room=lambda given: _room(given.keys, given.size, given.times + NODES + 2)
    )

    command = add("rolling", parents=[systems, stored], help="each node in turn", epilog=rolling.NOTES)
    command.add_argument("--connections", type=positive, default=64, help="[%(default)s]")
    command.add_argument("--rounds", type=positive, default=2, help="of all nodes [%(default)s]")
    command.set_defaults(measure=_rolling, wants=["tabulate"])


def _room(writes: int, size: int, nodes: int = NODES) -> int:
    """Bytes that so many writes may take."""
    return nodes * writes * (size + OVERHEAD)


def _room_for_overwrites(given: argparse.Namespace) -> int:
    """Those of etcd all stay."""
    return _room(given.count if "etcd" in given.systems else min(given.count, BOUNDED), given.size)


@contextmanager
def _kept(given: argparse.Namespace, found: Sequence[Any]) -> Iterator[None]:
    """Write what was found, be it all or not."""
    try:
        yield
    finally:
        if given.json is not None:
            compare.write_rows(given.json, found)


async def _each_system(
    given: argparse.Namespace, measure: Callable[[str], Awaitable[Any]], table: Callable[[Any], str]
) -> None:
    """One after the other, so that none costs another anything; and a table of those that were measured."""
    found: list[Any] = []
    with _kept(given, found):
        try:
            for name in given.systems:
                found.append(await measure(name))
        finally:
            if found:
                print(table(found), flush=True)


async def _restart(reactor: Any, given: argparse.Namespace) -> None:
    async def measure(name: str) -> restart.Restarts:
        return await restart.restarts(reactor, name, given.keys, given.size, given.times, given.fill == "single")

    await _each_system(given, measure, restart.table)


async def _catchup(reactor: Any, given: argparse.Namespace) -> None:
    async def measure(name: str) -> catchup.Catchup:
        single = given.fill == "single"
        return await catchup.catchup(reactor, name, given.keys, given.size, given.rate, given.seconds, single)

    await _each_system(given, measure, catchup.table)


async def _members(reactor: Any, given: argparse.Namespace) -> None:
    async def measure(name: str) -> Sequence[members.Changed]:
        return await members.members(reactor, name, given.keys, given.size, given.rate, given.times)

    await _each_system(given, measure, members.table)


async def _rolling(reactor: Any, given: argparse.Namespace) -> None:
    async def measure(name: str) -> rolling.Rolling:
        return await rolling.rolling(reactor, name, given.connections, given.size, given.rounds)

    await _each_system(given, measure, rolling.table)


async def _overwrites(reactor: Any, given: argparse.Namespace) -> None:
    found = [overwrites.Overwrites(name, how, given.size) for name in given.systems for how in given.how]
    with _kept(given, found):
        for each in found:
            try:
                await overwrites.overwrites(reactor, each, given.count, given.keys)
            finally:
                if each.samples:
                    print(overwrites.table(each), flush=True)


async def _soak(reactor: Any, given: argparse.Namespace) -> None:
    found = [soak.Soak(name, given.rate, given.size) for name in given.systems]
    with _kept(given, found):
        for each in found:
            try:
                await soak.soak(reactor, each, given.keys, given.seconds, given.every)
            finally:
                if each.looks:
                    print(soak.summary(each), flush=True)
