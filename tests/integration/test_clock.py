"""The wall clock is set back under nodes that run, and no timer hears of it."""

import time
from datetime import datetime
from pathlib import Path

from tests.integration.cluster import NodeProcess
from tests.integration.conftest import MakeCluster, process_test

SET_BACK = 60.0
"""Seconds: many election and request timeouts, and more than the tests wait."""

SITECUSTOMIZE = f"""
import os, time
def told(real=time.time, set_back=os.path.join(os.path.dirname(__file__), "set-back"), exists=os.path.exists):
    return real() - {SET_BACK} * exists(set_back)
time.time = told
"""
"""Python imports a module of that name before all others, Twisted's among them, which take `time.time` for theirs."""


class WallClock:
    """The wall clock of those nodes that have `directory` on their path."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        (directory / "sitecustomize.py").write_text(SITECUSTOMIZE)

    def set_back(self) -> None:
        """By SET_BACK, on all nodes at once."""
        (self.directory / "set-back").touch()


@process_test
async def test_set_back(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """A leader that dies then has a successor as soon as ever, and a request without a majority is answered in time."""
    clock = WallClock(tmp_path / "clock")
    cluster = make_cluster(timing={"request_timeout": 2000}, python_path=[clock.directory])
    cluster.start()
    old = await cluster.wait_for_leader()
    clock.set_back()
    old.kill()
    new = await cluster.wait_for_leader()
    assert (await new.ask("/set", key="a", val="1")).status == 200
    assert is_set_back(new)
    for node in cluster.others(old, new):
        node.kill()
    assert (await new.ask("/set", key="a", val="2")).status == 503


def is_set_back(node: NodeProcess) -> bool:
    """Whether the last line of a node's log, which it wrote just now, is from the past."""
    written = datetime.fromisoformat(node.stdout.read_text().splitlines()[-1].split()[0])
    return written.timestamp() < time.time() - SET_BACK / 2
