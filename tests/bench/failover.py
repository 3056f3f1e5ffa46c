"""How long nobody can write once the leader is gone."""

import os
import statistics
from typing import Any

from twisted.internet.utils import getProcessValue

from tests.bench.systems import SYSTEMS, System, running

PATIENCE = "0.1"
"""Seconds after which a write that is not answered is sent again, to the next node. One that was passed on to the old
leader is not answered by the next, so figures come in such steps."""


async def failover(reactor: Any, names: list[str], times: int, cut: bool) -> None:
    """End the leader, by kill -9 or, with `cut`, so that its connections stay open, as on a machine that is cut off;
    write to the others by turns, until one acknowledges."""
    took: dict[str, list[float]] = {name: [] for name in names}
    with running(reactor, [SYSTEMS[name] for name in names], 3) as systems:
        for number in range(times):
            for system in systems:
                took[system.name].append(await _once(reactor, system, number, cut))
            print("   ".join(f"{name} {seconds[-1]:.3f} s" for name, seconds in took.items()), flush=True)
    for name, seconds in took.items():
        print(f"{name}: median {statistics.median(seconds):.3f} s, worst {max(seconds):.3f} s of {len(seconds)}")


async def _once(reactor: Any, system: System, number: int, cut: bool) -> float:
    leader = await system.leader()
    others = [node for node in system.nodes if node is not leader]
    while not await _written(system, others[0], number):  # both of the others follow it
        pass
    if cut:
        leader.pause()
    else:
        leader.kill()
    began = reactor.seconds()
    tries = 0
    while not await _written(system, others[tries % len(others)], number):
        tries += 1
    took: float = reactor.seconds() - began
    if cut:
        leader.resume()
    else:
        leader.start()
    return took


async def _written(system: System, node: Any, number: int) -> bool:
    arguments = ["-sfm", PATIENCE, "-o", os.devnull, *system.write(node, "failover", str(number))]
    return bool(await getProcessValue("curl", arguments, env=os.environ) == 0)
