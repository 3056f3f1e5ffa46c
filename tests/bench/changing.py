"""How the membership of each system is changed, as its operator does it."""

import json
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any, Final, Protocol
from urllib.parse import urlencode

from attrs import define, field
from twisted.internet.task import deferLater

from tests.bench.connections import Answer, Pool, post
from tests.bench.load import Disturbed
from tests.bench.systems import FORM, Etcd, EtcdNode, System, Txraft, post_json
from tests.integration.cluster import NodeProcess

TRIES: Final = 1500
"""Of one request, on one node after the other: a change may be refused until a member has caught up, say."""
SETBACK: Final = 0.02
"""Seconds between two of them."""


@define(eq=False)
class Roving:
    """Asks the node that answered last; where that does not, the next one."""

    reactor: Any
    system: System
    node: Any
    patience: float
    """Seconds after which a node that does not answer is given up, and what it may have done is asked for again."""
    _pools: dict[Any, Pool] = field(factory=dict, init=False)

    async def once(self, request: bytes) -> Answer:
        """What one node says; without a code where it does not answer."""
        node = self.node
        if node not in self._pools:
            self._pools[node] = Pool(self.reactor, self.system.url(node), self.patience)
        try:
            answer = await self._pools[node].ask(request)
        except Exception:  # nothing came in time, or the connection broke, or there is none
            answer = Answer(0, b"it does not answer")
        if answer.code != 200 and self.node is node:
            self._go_on()
        return answer

    async def ask(self, request: bytes) -> Answer:
        """Until it is acknowledged, or TRIES times."""
        answer = await self.once(request)
        for _ in range(TRIES):
            if answer.code == 200:
                break
            await deferLater(self.reactor, SETBACK)
            answer = await self.once(request)
        return answer

    def close(self) -> None:
        """End all connections."""
        for pool in self._pools.values():
            pool.close()

    def _go_on(self) -> None:
        nodes = [node for node in self.system.nodes if self.system.is_running(node)]
        after = nodes.index(self.node) + 1 if self.node in nodes else 0
        if nodes:
            self.node = nodes[after % len(nodes)]


class Changing(Protocol):
    """The changes of one system. Each method that makes one returns when that is committed."""

    @abstractmethod
    def new(self) -> Any:
        """A node that is none of the cluster's yet. It does not run."""

    @abstractmethod
    async def add(self, node: Any, learner: bool = False) -> None:
        """Add it, and start it."""

    @abstractmethod
    async def promote(self, node: Any) -> None:
        """Make a voter of a learner; wait until it may become one."""

    @abstractmethod
    async def remove(self, node: Any) -> None:
        """Remove a member."""

    @abstractmethod
    async def replace(self, old: Any, node: Any) -> None:
        """Put a new node, which is started, in the place of a member that is down."""

    @abstractmethod
    async def move(self, node: Any) -> None:
        """Give a member another address, under which it is reached as well."""

    @abstractmethod
    async def is_member(self, node: Any) -> bool:
        """With a vote or without one."""

    @abstractmethod
    async def is_voter(self, node: Any) -> bool:
        """Also: no change is under way any more."""


class _Asking:
    """What both systems have in common."""

    def __init__(self, system: Any, roving: Roving, stack: ExitStack) -> None:
        """New nodes end with `stack`."""
        self.system = system
        self._roving = roving
        self._stack = stack

    async def _make(self, what: str, request: bytes, is_made: Callable[[], Awaitable[bool]]) -> None:
        """Make a change. Where nobody says so, it may have been made all the same: the leader that removed itself did
        not live to tell, say. Raises Disturbed."""
        for _ in range(TRIES):
            answer = await self._roving.once(request)
            if answer.code == 200 or await is_made():
                return
            await deferLater(self._roving.reactor, SETBACK)
        raise Disturbed(f"{self.system.name} does not {what}: {answer.body.decode(errors='replace').strip()}")

    async def _told(self, request: bytes) -> Any:
        """What the JSON says that is answered. Raises Disturbed."""
        answer = await self._roving.ask(request)
        if answer.code != 200:
            raise Disturbed(f"{self.system.name} does not tell its members: {answer.body.decode(errors='replace')}")
        return json.loads(answer.body)

    async def _is_never_made(self) -> bool:
        """Of a change that can be asked for twice."""
        return False

    def _forget(self, node: Any) -> None:
        if node in self.system.nodes:
            self.system.nodes.remove(node)
            self._stack.callback(node.kill)


class TxraftChanging(_Asking):
    """Over HTTP: a new node is started with --join at the same time."""

    system: Txraft
    _newest = 0

    def new(self) -> NodeProcess:
        nodes = self.system.nodes
        self._newest = max(self._newest, *(node.id for node in nodes)) + 1
        node = self.system.new_node(self._newest)
        node.options = ["--kvaddr", node.kvaddr, "--join", next(each for each in nodes if each.running).kvaddr]
        self._stack.callback(node.kill)
        return node

    async def add(self, node: NodeProcess, learner: bool = False) -> None:
        node.start()
        request = _form("/members", **_member(node), learner=str(learner).lower())
        await self._make("add a node", request, lambda: self.is_member(node))
        self.system.nodes.append(node)

    async def promote(self, node: NodeProcess) -> None:
        request = _form("/members/promote", id=str(node.id))
        await self._make("promote a learner", request, lambda: self.is_voter(node))

    async def remove(self, node: NodeProcess) -> None:
        request = post(f"/members?id={node.id}", b"", FORM, "DELETE")
        await self._make("remove a node", request, lambda: _not(self.is_member(node)))
        self._forget(node)

    async def replace(self, old: NodeProcess, node: NodeProcess) -> None:
        node.start()
        request = _form("/members/replace", **_member(node) | {"id": str(old.id), "by": str(node.id)})
        await self._make("replace a node", request, lambda: self.is_member(node))
        self._forget(old)
        self.system.nodes.append(node)

    async def move(self, node: NodeProcess) -> None:
        node.address = node.address.replace("127.0.0.1", "localhost")
        request = _form("/members/update", id=str(node.id), address=node.address)
        await self._make("change an address", request, self._is_never_made)

    async def is_member(self, node: NodeProcess) -> bool:
        return node.id in {each["id"] for each in (await self._members())["members"]}

    async def is_voter(self, node: NodeProcess) -> bool:
        members = await self._members()
        settled = not members["joint"] and len(members["members"]) == len(self.system.nodes)
        return settled and node.id in {each["id"] for each in members["members"] if each["voter"]}

    async def _members(self) -> Any:
        return await self._told(post("/members", b"", FORM, "GET"))


def _form(path: str, **given: str) -> bytes:
    return post(path, urlencode(given).encode(), FORM)


def _member(node: NodeProcess) -> dict[str, str]:
    return {"id": str(node.id), "address": node.address, "kvaddr": node.kvaddr}


async def _not(look: Awaitable[bool]) -> bool:
    return not await look


class EtcdChanging(_Asking):
    """Over the JSON gateway. A new node is started once it is added, as it has to be."""

    system: Etcd

    def new(self) -> EtcdNode:
        node = self.system.new_node()
        self._stack.callback(node.kill)
        return node

    async def add(self, node: EtcdNode, learner: bool = False) -> None:
        request = post_json("/v3/cluster/member/add", _urls(node) | {"isLearner": learner})
        await self._make("add a node", request, lambda: self.is_member(node))
        self.system.nodes.append(node)
        node.others = list(self.system.nodes)
        node.start()

    async def promote(self, node: EtcdNode) -> None:
        request = post_json("/v3/cluster/member/promote", {"ID": await self._id(node)})
        await self._make("promote a learner", request, lambda: self.is_voter(node))

    async def remove(self, node: EtcdNode) -> None:
        request = post_json("/v3/cluster/member/remove", {"ID": await self._id(node)})
        await self._make("remove a node", request, lambda: _not(self.is_member(node)))
        self._forget(node)

    async def replace(self, old: EtcdNode, node: EtcdNode) -> None:
        await self.remove(old)
        await self.add(node)

    async def move(self, node: EtcdNode) -> None:
        id = await self._id(node)
        node.peer_url = node.peer_url.replace("127.0.0.1", "localhost")
        request = post_json("/v3/cluster/member/update", _urls(node) | {"ID": id})
        await self._make("change an address", request, self._is_never_made)

    async def is_member(self, node: EtcdNode) -> bool:
        return any(node.peer_url in each["peerURLs"] for each in await self._members())

    async def is_voter(self, node: EtcdNode) -> bool:
        return any(node.peer_url in each["peerURLs"] and not each.get("isLearner") for each in await self._members())

    async def _id(self, node: EtcdNode) -> str:
        return next(str(each["ID"]) for each in await self._members() if node.peer_url in each["peerURLs"])

    async def _members(self) -> Any:
        return (await self._told(post_json("/v3/cluster/member/list", {})))["members"]


def _urls(node: EtcdNode) -> dict[str, Any]:
    return {"peerURLs": [node.peer_url]}


def changing(system: System, roving: Roving, stack: ExitStack) -> Changing:
    """That of a system."""
    return TxraftChanging(system, roving, stack) if isinstance(system, Txraft) else EtcdChanging(system, roving, stack)
