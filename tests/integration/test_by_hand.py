"""The README's "Run it" and "Three nodes by hand", run as they stand, each test in a network that nobody else is in.

There the ports of the README are free, and the addresses of its three machines can be this one's.
"""

import os
import re
import shlex
import shutil
import textwrap
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from tests.integration.commands import TREE, run
from tests.integration.conftest import INSTALL, process_test
from tests.lacking import do_without

ALONE = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
"""A command in a network and a table of processes of its own. What it has started ends with it, however it ends."""


def blocks_of(title: str) -> list[str]:
    """The indented blocks of a section, in their order."""
    readme = (TREE / "README.md").read_text(encoding="utf-8")
    _, _, section = readme.partition(f"\n## {title}\n\n")
    section, _, _ = section.partition("\n## ")
    lines = iter(section.splitlines())
    blocks = []
    for line in lines:
        if line.startswith("    "):
            rest = takewhile(lambda each: not each or each.startswith("    "), lines)
            blocks.append(textwrap.dedent("\n".join([line, *rest])).rstrip("\n"))
    return blocks


def in_background(line: str) -> str:
    """As in a terminal of its own."""
    return f"(exec {line}\n) >> log 2>&1 &\nstarted+=($!)"


def until(command: str) -> str:
    """Run it until it succeeds, for as long as what was started last runs."""
    return f"until {command} > last 2>&1; do kill -0 $!; sleep 0.1; done"


async def lines_of(reactor: Any, directory: Path, *script: str) -> list[str]:
    """What a script of bash prints that finds the programs of the README. None of its commands may fail."""
    prelude = ["ip link set lo up", f"PATH={shlex.quote(str(directory / '.venv' / 'bin'))}:$PATH"]
    text = "\n".join([*prelude, *script])
    try:
        finished = await run(reactor, [*ALONE, "bash", "-euc", text], directory)
    finally:
        for name in ("log", "last"):
            if (directory / name).exists():
                print(f"--- {name}\n{(directory / name).read_text()}")
    assert (finished.status, finished.err) == (0, ""), f"{text}\n{finished}"
    return finished.out.splitlines()


@pytest.fixture
def directory(tmp_path: Path, clone: Path) -> Path:
    """An empty one, with the `.venv` of a clone."""
    if os.geteuid() != 0:
        do_without("root is needed for a network of one's own")
    for program in ("curl", "ip", "unshare"):
        if shutil.which(program) is None:
            do_without(f"{program} is not installed")
    (tmp_path / ".venv").symlink_to(clone / ".venv")
    return tmp_path


@process_test
async def test_run_it(reactor: Any, directory: Path) -> None:
    """Each curl prints what is shown, and the value with a space is what it was."""
    start, session, urlencoded = blocks_of("Run it")
    install, _, up = start.rpartition(" && ")
    commands = [line.removeprefix("$ ") for line in session.splitlines() if line.startswith("$ ")]
    shown = [line for line in session.splitlines() if not line.startswith("$ ")]
    assert (install, up, len(commands), len(shown)) == (INSTALL, ".venv/bin/txraft up", 2, 2)
    printed = await lines_of(
        reactor,
        directory,
        in_background(up),
        until("grep curl log"),
        *(f"{line.replace('curl', 'curl -s')}; echo" for line in [*commands, urlencoded]),
        "txraft get '1 + 1'; echo",
        in_background("txraft up --base-port 9000 --nodes 5 --data-dir more"),
        until("txraft status --node localhost:9104"),
    )
    assert printed == [*shown, "set value", "zwei"]


@process_test
async def test_three_terminals_and_three_daemons(reactor: Any, directory: Path) -> None:
    """The daemons go on with what the three in terminals have stored, which end with status 0."""
    starts = blocks_of("Three nodes by hand")[0].splitlines()
    end = re.search(r"`(kill .*txraft-0\.pid.*?)` ends daemon 0", (TREE / "README.md").read_text(encoding="utf-8"))
    assert len(starts) == 3
    assert end is not None
    printed = await lines_of(
        reactor,
        directory,
        *map(in_background, starts),
        until("txraft status"),
        "txraft set greeting hello",
        'for each in "${started[@]}"; do kill $each; done',
        'for each in "${started[@]}"; do wait $each; done',
        *(line.replace(" -n ", " ") for line in starts),
        "until txraft status > last 2>&1; do sleep 0.1; done",
        "ls txraft-?.pid txraft-?.log",
        "txraft get greeting; echo",
        end[1],
        "while [ -e txraft-0.pid ]; do sleep 0.1; done",
    )
    assert printed == [*(f"txraft-{id}.{kind}" for id in range(3) for kind in ("log", "pid")), "hello"]


@process_test
async def test_three_machines(reactor: Any, directory: Path) -> None:
    """The file and the command for each id, which are here on one machine that has all three addresses."""
    _, file, start, _ = blocks_of("Three nodes by hand")
    (directory / "txraft.toml").write_text(file + "\n", encoding="utf-8")
    start = start.replace("/etc/", "").replace("/var/lib/", "lib/")
    starts = [start.replace("--id 0", f"--id {id}") for id in range(3)]
    assert len({*starts}) == 3
    printed = await lines_of(
        reactor,
        directory,
        *(f"ip address add {address}/32 dev lo" for address in re.findall(r'kvaddr = "([\d.]*):', file)),
        *starts,
        "until txraft status --config txraft.toml > last 2>&1; do sleep 0.1; done",
        "txraft set greeting hello --config txraft.toml",
        "txraft get greeting --node 10.0.0.12:27004; echo",
    )
    assert printed == ["hello"]


@process_test
async def test_one_grows(reactor: Any, directory: Path) -> None:
    """The one that joins gets a vote."""
    single, join, add = blocks_of("Three nodes by hand")[3].splitlines()
    *_, role = await lines_of(
        reactor,
        directory,
        in_background(single),
        until("txraft members --node localhost:27004"),
        in_background(join),
        add,
        "txraft members --node localhost:27004",
    )
    assert role.split() == ["1", "localhost:8081", "localhost:27005", "voter"]
