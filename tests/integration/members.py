"""Changes of the membership of real nodes, asked for until they are done."""

import json
from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.internet.task import deferLater

from tests.integration.cluster import NodeProcess, ProcessCluster
from tests.integration.waiting import until

Members = dict[str, Any]

PAUSE = 0.2
"""Seconds after a question that was not answered as it should be."""


@define(eq=False)
class Membership:
    """Of a cluster some of whose nodes may be down at any time. Any of them may be asked."""

    cluster: ProcessCluster

    def join(self, id: int) -> NodeProcess:
        """A new node, which is started and waits to be added."""
        node = NodeProcess(self.cluster, id)
        node.options = ["--kvaddr", node.kvaddr, "--join", self.cluster.nodes[0].kvaddr]
        node.start()
        return node

    async def add(self, id: int) -> NodeProcess:
        """A new node, which is a voter when this returns."""
        node = self.join(id)
        await self.admit(node)
        return node

    async def admit(self, node: NodeProcess) -> None:
        """It is a voter when this returns."""
        given = {"id": str(node.id), "address": node.address, "kvaddr": node.kvaddr}
        await self.change("POST", "/members", given, lambda members: node.id in ids_of(members))
        self.cluster.nodes.append(node)
        await self.wait_for_voters(self.voters)

    async def replace(self, old: NodeProcess, id: int) -> NodeProcess:
        """A new node, which has the vote of the other when this returns."""
        node = self.join(id)
        given = {"id": str(old.id), "by": str(id), "address": node.address, "kvaddr": node.kvaddr}
        await self.change("POST", "/members/replace", given, lambda members: id in ids_of(members))
        self.cluster.nodes.append(node)
        await self.wait_for_voters(self.voters - {old.id})
        self.cluster.nodes.remove(old)
        return node

    async def remove(self, old: NodeProcess) -> None:
        """It is no member when this returns."""
        self.cluster.nodes.remove(old)
        await self.change("DELETE", "/members", {"id": str(old.id)}, lambda members: old.id not in ids_of(members))
        await self.wait_for_voters(self.voters)

    @property
    def voters(self) -> set[int]:
        return {node.id for node in self.cluster.nodes}

    async def change(self, method: str, path: str, given: dict[str, str], is_done: Callable[[Members], bool]) -> None:
        """Ask for it until it is done, whether an answer says so or not."""

        async def done() -> bool | None:
            for node in self.cluster.awake:
                members = await self.ask(node, "GET", "/members", {})
                if members is not None and is_done(members):
                    return True
                if members is not None and (members := await self.ask(node, method, path, given)) is not None:
                    return True
            await deferLater(self.cluster.reactor, PAUSE)
            return None

        await until(self.cluster.reactor, f"{method} {path} {given}", done)

    async def wait_for_voters(self, voters: set[int]) -> None:
        """Wait until these are the voters, and no change is under way."""

        async def there() -> bool | None:
            for node in self.cluster.awake:
                members = await self.ask(node, "GET", "/members", {})
                if members is None or members["joint"]:
                    continue
                if {each["id"] for each in members["members"] if each["voter"]} == voters:
                    return True
            return None

        await until(self.cluster.reactor, f"the voters are {voters}", there)

    async def ask(self, node: NodeProcess, method: str, path: str, given: dict[str, str]) -> Members | None:
        """The membership that it answers; None where it answers something else, or not at all."""
        try:
            answer = await self.cluster.client.ask(node.url(path), given, timeout=10, method=method)
        except Exception:  # it was killed, say
            return None
        if answer.status != 200:
            assert answer.status == 503 or (answer.status == 409 and answer.retry_after is not None), answer
            return None
        found: Members = json.loads(answer.body)
        return found


def ids_of(members: Members) -> set[int]:
    """Of all members."""
    return {each["id"] for each in members["members"]}


def has_address(address: str, members: Members) -> bool:
    """Whether that is where the others reach a member."""
    return any(each["address"] == address for each in members["members"])
