"""The examples, as they stand: copied out, on three real processes that are killed and started again."""

import inspect
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import treq
from attrs import define, field
from twisted.internet.error import ConnectError
from twisted.web.client import Agent, ResponseFailed

from tests.integration.commands import TREE, environment, run
from tests.integration.conftest import process_test
from tests.integration.ports import reserve_port
from tests.integration.waiting import until
from txraft.examples import counter

WITH_ASYNCIO = """\
from twisted.internet import asyncioreactor
asyncioreactor.install()
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def in_readme() -> str:
    """The counter, as the README has it."""
    readme = (TREE / "README.md").read_text(encoding="utf-8")
    _, _, section = readme.partition("## An object of your own, replicated\n")
    block = section[section.index("    import sys") : section.index("\nWrite it to ")]
    return textwrap.dedent(block).strip("\n") + "\n"


def its_test_in_readme() -> str:
    """The test of the counter."""
    readme = (TREE / "README.md").read_text(encoding="utf-8")
    _, _, section = readme.partition("### Tested, before it is trusted\n")
    block = section[section.index("    import unittest") : section.index("\nIt fails where ")]
    return textwrap.dedent(block).strip("\n") + "\n"


IN_ASYNCIO = """\
import asyncio, sys
from twisted.internet import asyncioreactor
loop = asyncio.new_event_loop()
asyncioreactor.install(loop)
from twisted.internet import reactor
from txraft import CommandFailed, ObjectService
from txraft.examples.counter import Counter

service = ObjectService(reactor, {0: f"localhost:{sys.argv[1]}"}, 0, "data", Counter)

async def main():
    service.startService()
    counts = [await service.call(Counter.add, "apples", more).asFuture(loop) for more in (1, 2)]
    counts += await asyncio.gather(*(service.query(Counter.count, "apples").asFuture(loop) for _ in range(2)))
    print(counts)
    await service.stopService().asFuture(loop)
    reactor.stop()

reactor.callWhenRunning(lambda: loop.create_task(main()))
reactor.run()
"""


@define(eq=False)
class Counters:
    """Three servers of the counter, each with ports of its own."""

    reactor: Any
    directory: Path
    before: list[str]
    """What stands before the program in the command."""
    ports: list[int] = field(factory=lambda: [reserve_port() for _ in range(3)])
    processes: "dict[int, subprocess.Popen[bytes]]" = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        text = in_readme()
        for id in range(3):
            text = text.replace(f"localhost:{9100 + id}", f"localhost:{reserve_port()}")
        (self.directory / "counter.py").write_text(text, encoding="utf-8")

    def start(self, id: int) -> None:
        """Start one."""
        command = [sys.executable, *self.before, "counter.py", str(id), str(self.ports[id])]
        with (self.directory / f"{id}.log").open("ab") as log:
            self.processes[id] = subprocess.Popen(
                command, cwd=self.directory, env=environment(), stdout=log, stderr=log
            )

    def kill(self, id: int) -> None:
        """kill -9."""
        process = self.processes.pop(id)
        process.kill()
        process.wait()

    async def read(self, id: int) -> int:
        """Ask until there is a number for an answer: then there is a leader."""

        async def number() -> int | None:
            try:
                text = await self._ask(id, None)
            except (ConnectError, ResponseFailed):
                return None
            return int(text) if text.isdigit() else None

        return await until(self.reactor, f"server {id} answers", number)

    async def add(self, id: int, more: int) -> int:
        """Ask once: what it does not answer may have been done."""
        return int(await self._ask(id, more))

    async def _ask(self, id: int, more: int | None) -> str:
        method, data = ("GET", None) if more is None else ("POST", b"%d" % more)
        url = f"http://localhost:{self.ports[id]}/apples"
        answer = await treq.request(method, url, data=data, agent=Agent(self.reactor), persistent=False)
        text: str = await answer.text()
        return text.strip()


@contextmanager
def counters(reactor: Any, directory: Path, before: list[str]) -> Iterator[Counters]:
    """Started, and gone afterwards."""
    made = Counters(reactor, directory, before)
    try:
        for id in range(3):
            made.start(id)
        yield made
    finally:
        for id in list(made.processes):
            made.kill(id)
        for log in sorted(directory.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text()}")


@pytest.mark.parametrize("before", [[], ["-c", WITH_ASYNCIO]], ids=["the default reactor", "asyncio"])
@process_test
async def test_counter(reactor: Any, tmp_path: Path, before: list[str]) -> None:
    """What was counted is right on all of them, while one is killed, and after all were."""
    with counters(reactor, tmp_path, before) as servers:
        assert [await servers.read(id) for id in range(3)] == [0, 0, 0]  # all of them serve by then
        assert [await servers.add(id, 2) for id in range(3)] == [2, 4, 6]
        servers.kill(1)
        assert [await servers.read(id) for id in (0, 2)] == [6, 6]
        assert await servers.add(2, 5) == 11
        for id in (0, 2):
            servers.kill(id)
        for id in range(3):
            servers.start(id)
        assert [await servers.read(id) for id in range(3)] == [11] * 3
        for process in servers.processes.values():
            process.send_signal(signal.SIGINT)
        for id in range(3):

            async def ended(id: int = id) -> int | None:
                return servers.processes[id].poll()

            assert await until(reactor, f"server {id} ends", ended) == 0


def test_readme() -> None:
    """It has the example of the package, but for its docstring."""
    assert inspect.getsource(counter).endswith(f'"""\n\n{in_readme()}')


@process_test
async def test_from_asyncio(reactor: Any, tmp_path: Path) -> None:
    """A coroutine of asyncio awaits what a service gives, as the README has it."""
    finished = await run(reactor, [sys.executable, "-c", IN_ASYNCIO, str(reserve_port())], tmp_path)
    assert (finished.out, finished.err, finished.status) == ("[1, 3, 3, 3]\n", "", 0)


@process_test
async def test_tested(reactor: Any, tmp_path: Path) -> None:
    """The README's test of the counter passes, and fails where the counter throws dice."""
    (tmp_path / "test_counter.py").write_text(its_test_in_readme(), encoding="utf-8")
    command = [sys.executable, "-m", "unittest", "test_counter"]
    for more, found in (("more", ""), ("more + __import__('random').randrange(9)", "State Machine Safety")):
        text = in_readme().replace("get(name, 0) + more\n", f"get(name, 0) + {more}\n")
        (tmp_path / "counter.py").write_text(text, encoding="utf-8")
        ended = await run(reactor, command, tmp_path)
        assert ended.status == bool(found), ended.err
        assert found in ended.err
        assert ("again: simulate(Counter, operations, seeds=[" in ended.err) == bool(found)
