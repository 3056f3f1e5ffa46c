"""The tutorial of the README, "An object of your own, replicated": its commands, run as they are written."""

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.commands import TREE, environment, run
from tests.integration.conftest import INSTALL, process_test
from tests.integration.ports import reserve_port
from tests.integration.test_examples import in_readme
from tests.integration.waiting import until
from tests.lacking import do_without

HTTP_PORTS = (9000, 9001, 9002)
RAFT_PORTS = (9100, 9101, 9102)


def in_tutorial() -> tuple[list[str], list[tuple[str, str]]]:
    """The commands to begin with, and each command that is asked with what it prints."""
    readme = (TREE / "README.md").read_text(encoding="utf-8")
    _, _, text = readme.partition("\nWrite it to `counter.py`")
    text, _, _ = text.partition("\nKill one, ")
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    first = next(number for number, line in enumerate(lines) if line.startswith("$ "))
    asked = [
        (line.removeprefix("$ "), answer) for line, answer in zip(lines[first::2], lines[first + 1 :: 2], strict=True)
    ]
    return [line.partition(" # ")[0].strip() for line in lines[:first]], asked


@pytest.fixture
def ports() -> dict[int, int]:
    """Free ones for those of the README."""
    return {port: reserve_port() for port in (*HTTP_PORTS, *RAFT_PORTS)}


def on(ports: dict[int, int], text: str) -> str:
    """The same on these ports."""
    for old, new in ports.items():
        text = text.replace(str(old), str(new))
    return text


@pytest.fixture
def started(ports: dict[int, int], tmp_path: Path, clone: Path) -> Iterator[Path]:
    """A directory in which the three start lines run, on what the install line has installed."""
    (install, *starts), _ = in_tutorial()
    assert (install, len(starts)) == (INSTALL, 3)
    (tmp_path / "counter.py").write_text(on(ports, in_readme()), encoding="utf-8")
    (tmp_path / ".venv").symlink_to(clone / ".venv")
    processes = []
    try:
        for number, line in enumerate(starts):
            with (tmp_path / f"{number}.log").open("ab") as log:
                command = shlex.split(on(ports, line))
                processes.append(subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=log, stderr=log))
        yield tmp_path
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for log_file in sorted(tmp_path.glob("*.log")):
            print(f"--- {log_file.name}\n{log_file.read_text()}")


@process_test
async def test_three_terminals_and_a_fourth(reactor: Any, ports: dict[int, int], started: Path) -> None:
    """Each answer is the one that is printed."""
    if shutil.which("curl") is None:
        do_without("curl is not installed")
    _, asked = in_tutorial()
    assert len(asked) == 3

    for port in HTTP_PORTS:  # a reader, too, starts three terminals before the fourth

        async def serves(url: str = f"localhost:{ports[port]}/pears") -> bool | None:
            return (await run(reactor, ["curl", "-s", url], started)).out == "0\n" or None

        await until(reactor, f"the server at {port} serves", serves)
    for line, answer in asked:
        finished = await run(reactor, shlex.split(on(ports, line)), started)
        assert (finished.status, finished.out) == (0, f"{answer}\n"), line
