"""Whether a cluster under load keeps its leader, with given timeouts."""

import os
import re
from functools import partial
from typing import Any

from attrs import frozen
from twisted.internet.task import LoopingCall

from tests.bench.load import Disturbed, Summary, Work, number, wrk
from tests.bench.systems import Txraft, running
from tests.integration.cluster import Status
from tests.integration.waiting import until
from txraft.settings import Timing

PROGRESS = 10
"""Seconds between two lines, and between two requests for /status."""


@frozen
class Standing:
    """How things are."""

    term: int
    leader: int | None
    applied: int
    """Entries."""
    campaigns: int
    """How often a follower has not heard from a leader for too long, as the logs have it. Nodes that hear one refuse
    their votes, so few of these end a term."""

    def since(self, before: "Standing") -> str:
        """What has happened since `before`."""
        return f"{self.term - before.term} terms passed, {self.campaigns - before.campaigns} campaigns"


async def elections(reactor: Any, seconds: int, connections: int, timing: Timing) -> None:
    """Load the leader of three nodes with writes for so long, and tell what became of its leadership.

    Raises Disturbed where nothing was written."""
    options = {"election_timeout": timing.election_timeout, "heartbeat_interval": timing.heartbeat_interval}
    with running(reactor, [partial(Txraft, timing=options)], 3) as (system,):
        assert isinstance(system, Txraft)
        leader = await system.leader()
        first = last = await _standing(reactor, system)
        began = reactor.seconds()

        async def tell() -> None:
            nonlocal last
            now = await _standing(reactor, system)
            print(
                f"{reactor.seconds() - began:.0f} s of {seconds}: node {now.leader} leads in term {now.term},"
                f" {(now.applied - last.applied) / PROGRESS:.0f} writes a second, {now.since(first)}",
                flush=True,
            )
            last = now

        progress = LoopingCall(tell)
        progress.clock = reactor
        told = progress.start(PROGRESS, now=False)
        try:
            output = await wrk(system.url(leader), "gaps.lua", Work("set", connections), seconds)
        finally:
            if progress.running:  # it ends by itself where telling failed
                progress.stop()
        await told
        end = await _standing(reactor, system)
    said = Summary.read(output)
    if not said.count:
        raise Disturbed(" ".join(output.split()))
    longest, refused = number(r"longest ([\d.]+)", output), number(r"refused (\d+)", output)
    loads = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"election_timeout {timing.election_timeout:g} ms, heartbeat_interval {timing.heartbeat_interval:g} ms:")
    print(f"{end.since(first)}, in {seconds} s of {said.rate:.0f} writes a second on {connections} connections")
    print(f"longest time without an acknowledged write: {longest:.3f} s")
    print(f"not acknowledged: {refused:.0f} of {said.count}")
    print(f"p50 {said.p50:.1f} ms, p99 {said.p99:.1f} ms; load average {loads}")


async def _standing(reactor: Any, system: Txraft) -> Standing:
    async def answers() -> list[Status] | None:
        return [status for node in system.nodes if (status := await node.status()) is not None] or None

    statuses = await until(reactor, "a node answers", answers)
    newest = max(statuses, key=lambda status: status["term"])
    logs = (node.stdout.read_text(errors="replace") for node in system.nodes)
    campaigns = sum(len(re.findall("this node is pre-candidate", log)) for log in logs)
    return Standing(newest["term"], newest["leader_id"], newest["last_applied"], campaigns)
