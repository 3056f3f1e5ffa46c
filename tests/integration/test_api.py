"""The HTTP API of a whole cluster, asked with curl: any node takes any request."""

import json
from importlib import metadata

from tests.integration.cluster import ProcessCluster
from tests.integration.conftest import Curl, process_test


@process_test
async def test_a_session(cluster: ProcessCluster, curl: Curl) -> None:
    """What is set on one node is there on every other at once."""
    leader = await cluster.wait_for_leader()
    for node in cluster.nodes:
        key, value = f"from-{node.id}", f"välue of {node.id}"
        sent = ["--get", "--data-urlencode", f"key={key}", "--data-urlencode", f"val={value}"]
        assert await curl(*sent, node.url("/set")) == "set value 200"
        for other in cluster.others(node):
            assert await curl(other.url(f"/get?key={key}")) == f"{value} 200"

    follower, another = cluster.others(leader)
    assert await curl(follower.url("/cas?key=from-0&old=other&val=new")) == "the value is not `old` 409"
    assert await curl(follower.url("/cas?key=nothing&old=a&val=b")) == "there is no such key 409"
    assert await curl(follower.url("/set?key=count&val=1")) == "set value 200"
    assert await curl(another.url("/cas?key=count&old=1&val=2")) == "set value 200"
    assert await curl(leader.url("/get?key=count")) == "2 200"
    assert await curl("--data", "key=count&val=3", follower.url("/set")) == "set value 200"
    assert await curl("--form", "key=count", another.url("/get")) == "3 200"
    assert await curl(another.url("/delete?key=count")) == "deleted value 200"
    for node in cluster.nodes:
        assert await curl(node.url("/get?key=count")) == "there is no such key 404"
        assert await curl(node.url("/delete?key=count")) == "there is no such key 404"
    assert (await curl(follower.url("/nonsense"))).endswith(" 404")


@process_test
async def test_an_unquoted_ampersand(cluster: ProcessCluster, curl: Curl) -> None:
    """`curl localhost:27004/set?key=a&val=b` in a shell sends this."""
    await cluster.wait_for_leader()
    answer = await curl(cluster.nodes[0].url("/set?key=a"))
    line, status = answer.rsplit(" ", 1)
    assert status == "400"
    assert "val is missing" in line
    assert "quotes" in line
    assert len(line.splitlines()) == 1


@process_test
async def test_status(cluster: ProcessCluster, curl: Curl) -> None:
    """Every field, on every node; the nodes agree, and one of them leads."""
    leader = await cluster.wait_for_leader()
    assert await curl(leader.url("/set?key=a&val=b")) == "set value 200"
    applied = await cluster.wait_until_equal()
    for node in cluster.nodes:
        body, _, code = (await curl(node.url("/status"))).rpartition(" ")
        status = json.loads(body)
        assert code == "200"
        assert status.pop("term") >= 1
        followers = status.pop("followers")
        assert [follower["id"] for follower in followers] == (
            [other.id for other in cluster.others(leader)] if node is leader else []
        )
        assert {follower["match_index"] for follower in followers} <= {applied}
        assert all(0 <= follower["last_contact"] < 5 for follower in followers)
        assert len(status.pop("cluster")) == 16
        assert status.pop("data_size") > 0
        assert status == {
            "version": metadata.version("txraft"),
            "id": node.id,
            "role": "leader" if node is leader else "follower",
            "leader_id": leader.id,
            "commit_index": applied,
            "last_applied": applied,
            "last_log_index": applied,
            "first_log_index": 1,
            "members_known": True,
            "members": [
                {
                    **{"id": member.id, "address": member.address, "kvaddr": member.kvaddr},
                    **{"voter": True, "learner": False, "joining": False},
                }
                for member in cluster.nodes
            ],
        }
