"""Who the members are is what the cluster was started with, whatever the configuration says later (hazard E14)."""

from collections.abc import Sequence
from functools import partial

from tests.integration.cluster import NodeProcess, ProcessCluster
from tests.integration.commands import run, twistd
from tests.integration.conftest import MakeCluster, process_test
from tests.integration.members import Membership, has_address
from tests.integration.waiting import until


async def stop(nodes: Sequence[NodeProcess]) -> None:
    """End them cleanly."""
    for node in nodes:
        node.terminate()
    for node in nodes:
        await node.ended_cleanly()


async def agree(nodes: Sequence[NodeProcess], value: bytes) -> None:
    """Each of `nodes` reads `value`, linearizably."""
    for node in nodes:
        assert (await node.ask("/get", key="a")).body == value


@process_test
async def test_a_list_that_was_edited_in_some_files_only(make_cluster: MakeCluster) -> None:
    """Two majorities would be possible, 1 and 2 of three and 0, 3 and 4 of five: only the first elects."""
    cluster = make_cluster(size=5, name="mine", timing={"request_timeout": 2000})
    old, new = cluster.nodes[:3], cluster.nodes[3:]
    for node in old:
        node.configuration = cluster.directory / "old.toml"
    cluster.write_configuration(cluster.directory / "old.toml", old)
    for node in old:
        node.start()
    leader = await cluster.wait_for_leader(old)
    assert (await leader.ask("/set", key="a", val="1")).status == 200
    await stop(old)

    for node in (*old[1:], *new):
        node.start()
    leader = await cluster.wait_for_leader(old[1:])
    assert (await leader.ask("/set", key="a", val="2")).status == 200
    await until(cluster.reactor, "the new nodes hear that they are refused", lambda: refused(new))
    for node in new:
        answer = await node.ask("/set", key="a", val="3")
        assert (answer.status, answer.outcome) == (503, "not-applied")

    old[0].configuration = cluster.configuration
    old[0].start()
    await cluster.wait_for_leader(old)
    await agree(old, b"2")
    assert "says otherwise" in old[0].stdout.read_text()
    assert "(node 3 is no member; node 4 is no member)" in old[0].stdout.read_text()


async def refused(nodes: Sequence[NodeProcess]) -> bool | None:
    """Whether each of `nodes` has said that others refuse it for its founders; for `until`, so None where not."""
    return all("founders" in node.stdout.read_text() for node in nodes) or None


@process_test
async def test_other_addresses(make_cluster: MakeCluster) -> None:
    """One node after the other moves to addresses that none had before, while the cluster serves. Where each listens is
    in its file."""
    cluster: ProcessCluster = make_cluster()
    cluster.start()
    leader = await cluster.wait_for_leader()
    assert (await leader.ask("/set", key="a", val="1")).status == 200
    membership, elsewhere = Membership(cluster), make_cluster()
    for node, moved in zip(cluster.nodes, elsewhere.nodes, strict=True):
        given = {"id": str(node.id), "address": moved.address, "kvaddr": moved.kvaddr}
        await membership.change("POST", "/members/update", given, partial(has_address, moved.address))
        await stop([node])
        node.address, node.kvaddr = moved.address, moved.kvaddr
        cluster.write_configuration(cluster.configuration, cluster.nodes)
        node.start()
        await cluster.wait_for_leader()
    await agree(cluster.nodes, b"1")


@process_test
async def test_wrong_address(make_cluster: MakeCluster) -> None:
    """A node without a file of its own, for which the membership has an address that is not its machine's, is started
    all the same, by its command line. With the right address in the membership it needs no option any more."""
    cluster = make_cluster()
    cluster.start()
    await cluster.wait_for_leader()
    membership = Membership(cluster)
    node = await membership.add(3)
    wrong = "203.0.113.1:1"

    async def hears_of(address: str) -> None:
        async def heard() -> bool | None:
            members = await membership.ask(node, "GET", "/members", {"consistency": "stale"})
            return (members is not None and has_address(address, members)) or None

        await until(cluster.reactor, f"it hears of {address}", heard)

    for address, options in ((wrong, ["--address", node.address]), (node.address, [])):
        given = {"id": "3", "address": address}
        await membership.change("POST", "/members/update", given, partial(has_address, address))
        await hears_of(address)
        await stop([node])
        if address == wrong:
            node.options = []
            finished = await run(cluster.reactor, twistd("-n", "--pidfile=", *node.arguments()), cluster.directory)
            assert finished.status == 1
            assert f"cannot listen on {wrong}: " in finished.err
            assert "--address HOST:PORT, or bind in its file (--config)" in finished.err
        node.options = options
        node.start()
        await cluster.wait_until_equal()
    assert node.stdout.read_text().count(f"look for this node at {wrong}") == 1
