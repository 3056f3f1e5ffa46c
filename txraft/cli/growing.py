"""Adds nodes of `txraft up` to its cluster, one after the other, once that has a leader."""

import json
from collections.abc import Callable, Sequence
from http.client import OK
from typing import Any
from urllib.parse import urlencode

from attrs import define
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.iweb import IAgent

from txraft.addresses import Address
from txraft.answer_body import body_of
from txraft.settings import Member
from txraft.texts import one_line

PAUSE = 0.5
"""Seconds after which the same is asked again."""
PATIENCE = 30.0
"""Seconds for an answer."""


@define(eq=False)
class Growing:
    """Of a cluster that runs."""

    agent: IAgent
    clock: IReactorTime
    say: Callable[[str], None]

    async def add(self, new: Sequence[Member], asked: Address) -> None:
        """Add the `new` members that are none yet, by asking the one whose HTTP address is `asked`."""
        for member in new:
            try:
                await self._add(member, asked)
            except Exception as error:  # the node that is asked has ended, say
                self.say(f"node {member.id} could not be added: {one_line(str(error))}; `txraft members` shows who is")

    async def _add(self, member: Member, asked: Address) -> None:
        members = json.loads(await self._ask(b"GET", f"http://{asked}/members"))["members"]
        if any(each["id"] == member.id for each in members):
            return
        given = {"id": member.id, "address": member.address, "kvaddr": member.kvaddr}
        await self._ask(b"POST", f"http://{asked}/members?{urlencode(given)}")
        self.say(f"node {member.id} joins the cluster, and gets its vote when it has caught up")

    async def _ask(self, method: bytes, url: str) -> bytes:
        """The answer, once it is not that the same may be asked later: another change is under way, say."""
        while True:
            response: Any = await self.agent.request(method, url.encode()).addTimeout(PATIENCE, self.clock)
            body = await body_of(response).addTimeout(PATIENCE, self.clock)
            if response.code == OK:
                return body
            if not response.headers.hasHeader("retry-after"):
                raise ValueError(body.decode(errors="replace"))
            await deferLater(self.clock, PAUSE)
