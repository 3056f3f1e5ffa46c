"""Programs that are run to their end."""

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from tests.integration.waiting import until

TREE = Path(__file__).parents[2]


@frozen
class Finished:
    """How a program ended."""

    status: int
    """-N where signal N ended it."""
    out: str
    err: str


@cache
def environment(python_path: tuple[Path, ...] = ()) -> dict[str, str]:
    """For child processes: this one's, in which txraft can be imported from anywhere. `python_path` comes first."""
    installed = subprocess.run([sys.executable, "-c", "import txraft"], cwd="/", capture_output=True, check=False)
    path = [*map(str, python_path), *([] if installed.returncode == 0 else [str(TREE)])]
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path + ([inherited] if inherited else []))}


def twistd(*arguments: object) -> list[str]:
    """The command that runs `twistd` of the interpreter that runs this."""
    return [sys.executable, str(Path(sys.executable).with_name("twistd")), *map(str, arguments)]


async def run(reactor: IReactorTime, command: Sequence[str], directory: Path) -> Finished:
    """Run a program in `directory`. Fails, and kills it, where it does not end soon."""
    with TemporaryFile() as out, TemporaryFile() as err:
        process = subprocess.Popen(
            command, cwd=directory, env=environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )

        async def ended() -> int | None:
            return process.poll()

        try:
            status = await until(reactor, f"{' '.join(command)} ends", ended)
        finally:
            process.kill()
            process.wait()
        out.seek(0)
        err.seek(0)
        return Finished(status, out.read().decode(), err.read().decode())


def is_gone(pid: int) -> bool:
    """Whether a process, not a child of this one, has ended. One that nobody has waited for yet has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"
