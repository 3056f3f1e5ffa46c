"""A disk that takes nothing more: the node ends, and its cluster goes on."""

import resource
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.cluster import NodeProcess, ProcessCluster
from tests.integration.conftest import MakeCluster, process_test
from tests.integration.writers import Writers
from tests.lacking import do_without
from txraft import wal


@process_test
async def test_the_leaders_disk_fails(cluster: ProcessCluster) -> None:
    """It says so in one line, the others elect, and on a good disk it comes back. Hazard S1, S2, S13."""
    await cluster.wait_for_leader()
    writers = Writers(cluster)
    writers.start()
    await writers.acknowledge(200)
    leader = await cluster.wait_for_leader()
    let_no_file_grow(leader)
    assert await leader.ended() == 1
    lines = leader.stderr.read_text().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("txraft: ")
    assert str(leader.data) in lines[0]
    await writers.acknowledge(200)
    assert await cluster.wait_for_leader() is not leader
    leader.start()
    await writers.acknowledge(100)
    await writers.stop()
    await cluster.wait_until_equal()
    await writers.check()


def let_no_file_grow(node: NodeProcess) -> None:
    """Writes beyond the first page of any file fail from now on, with EFBIG: Python ignores SIGXFSZ. Log and data fail
    alike; what the node says of it fits in a page.
    """
    _, hard = resource.prlimit(node.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (4096, hard))


@pytest.mark.parametrize("name", ["raft.sqlite", "kv.sqlite"])
@pytest.mark.parametrize("call", ["fsync", "pwrite"])
@process_test
async def test_a_checkpoint_fails(make_cluster: MakeCluster, tmp_path: Path, call: str, name: str) -> None:
    """EIO for the file itself, while the `-wal` takes everything: the node ends in one line, before the `-wal` has
    grown, and on a good disk it comes back with all that it had. Hazard S16.
    """
    failing = tmp_path / "failing"
    cluster = make_cluster(variables={"LD_PRELOAD": str(failing_disk(tmp_path)), "FAILING": str(failing)})
    cluster.start()
    node = await cluster.wait_for_leader()
    failing.write_text(f"{call} {node.data / name}\n")
    large = "v" * 60_000
    written = 0
    while node.running and written < 300:
        with suppress(Exception):  # it ends meanwhile
            written += (await node.ask("/set", key=f"key{written}", val=large)).status == 200
    assert await node.ended() == 1
    assert (node.data / f"{name}-wal").stat().st_size < 4 * wal.CHECKPOINT_SIZE
    (line,) = node.stderr.read_text().splitlines()
    assert line.startswith(f"txraft: cannot write {node.data / name}: "), line
    assert "; the disk may be failing, or a quota used up: see to that first, and then start the node again" in line
    failing.unlink()
    node.start()
    await cluster.wait_until_equal()
    for number in range(written):
        assert (await node.ask("/get", key=f"key{number}")).body == large.encode()


def failing_disk(directory: Path) -> Path:
    """The library that makes a disk fail, compiled."""
    compiler = shutil.which("cc")
    if compiler is None:
        do_without("no C compiler is installed, and a disk that fails is made by one")
    library = directory / "failing_disk.so"
    source = Path(__file__).with_name("failing_disk.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library
