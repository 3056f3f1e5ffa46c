"""What the tests begin with: the reactor, clusters that are gone when the test is, and the tools of the machine."""

import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytest_twisted  # type: ignore[import-untyped]  # it has no annotations
from twisted.internet.utils import getProcessOutputAndValue

from tests.integration.cluster import ProcessCluster
from tests.integration.commands import TREE
from tests.lacking import do_without

INSTALL = "python3 -m venv .venv && .venv/bin/pip install ."
"""The command of the README."""

Test = TypeVar("Test", bound=Callable[..., Awaitable[None]])
MakeCluster = Callable[..., ProcessCluster]
Curl = Callable[..., Awaitable[str]]


def process_test(test: Test) -> Test:
    """Makes a test of a coroutine function, which runs in the reactor."""
    made: Test = pytest_twisted.ensureDeferred(test)
    return made


@pytest.hookimpl(tryfirst=True)  # before what `-m` leaves out is left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test in this directory, so that none is forgotten."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.processes)


@pytest.fixture
def reactor() -> Any:
    """The reactor that pytest-twisted runs."""
    from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it, which is pytest-twisted's to do

    return reactor


@pytest.fixture
def make_cluster(reactor: Any, tmp_path: Path) -> Iterator[MakeCluster]:
    """Makes clusters, by the arguments of `ProcessCluster` after the second; nothing runs yet.

    What their nodes wrote is shown when the test fails."""
    clusters: list[ProcessCluster] = []

    def make(**arguments: Any) -> ProcessCluster:
        directory = tmp_path / f"cluster-{len(clusters)}"
        directory.mkdir()
        clusters.append(ProcessCluster(reactor, directory, **arguments))
        return clusters[-1]

    yield make
    for cluster in clusters:
        cluster.close()
    for cluster in clusters:
        print(cluster.tails())


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> ProcessCluster:
    """Three nodes, started, that answer after two seconds in the worst case."""
    cluster = make_cluster(timing={"request_timeout": 2000})
    cluster.start()
    return cluster


@pytest.fixture
def curl(reactor: Any) -> Curl:
    """Runs curl with the given arguments. Gives the body, a space, and the status code."""
    path = shutil.which("curl")
    if path is None:
        do_without("curl is not installed, and these requests are to be made by it")

    async def run(*arguments: str) -> str:
        command = ["--silent", "--show-error", "--max-time", "15", "--write-out", " %{http_code}", *arguments]
        out, err, status = await getProcessOutputAndValue(path, command, reactor=reactor)
        assert status == 0, err.decode()
        return str(out.decode())

    return run


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone has of the package, and in its `.venv` the package installed, as the README says."""
    directory = tmp_path_factory.mktemp("clone")
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(TREE / name, directory)
    for name in ("twisted", "txraft"):
        shutil.copytree(TREE / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    installed = subprocess.run(INSTALL, shell=True, cwd=directory, capture_output=True, text=True, check=False)
    if installed.returncode != 0:
        do_without(f"txraft cannot be installed, which wants a network: {installed.stderr}")
    return directory
