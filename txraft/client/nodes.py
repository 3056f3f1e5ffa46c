"""Which node is asked next. Any node takes any request, and hands on what is the leader's: to find the leader saves a
hop, and to know the other members keeps a client going when its own nodes are gone.

Nodes come from the caller (`given`), or from what a node says in `/status` (`learn`). What the caller gives is trusted.
What a node says is an address as the nodes know it, which may mean something else here: `localhost:27004` is another
machine's, and may well be another cluster's. So nothing is asked of an address that was learned until its own
`/status` has named the same cluster.

In order come: nodes that have not failed lately, the leader first, then as they were given; then those that have, the
one first that failed the longest ago.
"""

from collections.abc import Callable, Iterable
from typing import Final

from attrs import define, field

from txraft.addresses import Address
from txraft.client.requests import NodeStatus
from txraft.errors import SettingsError
from txraft.kv.member_addresses import kvaddr_of
from txraft.texts import brief

FORGIVEN_AFTER: Final = 5.0
"""Seconds after which a failure counts no more."""


def addresses_of(nodes: Iterable[Address | str]) -> tuple[Address, ...]:
    """The addresses that a caller gives, as host:port. Raises SettingsError, also where there are none."""
    given = tuple(nodes)
    if not given:
        raise SettingsError("no node is given; give the host:port of the HTTP API of one or more")
    for node in given:
        if not isinstance(node, Address | str):
            raise SettingsError(f"a node is host:port, as a text, and not {brief(node)}; give each by itself")
    return tuple(node if isinstance(node, Address) else Address.parse(node) for node in given)


@define(eq=False)
class Nodes:
    """The nodes that a client knows."""

    given: tuple[Address, ...]
    now: Callable[[], float]
    """Seconds."""
    leader: Address | None = field(default=None, init=False)
    """Where the node was said to be that leads."""
    _cluster: str | None = field(default=None, init=False)
    """The one that the nodes given belong to."""
    _members: tuple[Address, ...] = field(default=(), init=False)
    """As they were learned last."""
    _confirmed: set[Address] = field(factory=set, init=False)
    """Those of the learned ones that belong to the cluster by their own word."""
    _failed_at: dict[Address, float] = field(factory=dict, init=False)

    def in_order(self, leader_first: bool = True) -> list[Address]:
        """All that may be asked, the best first."""
        known = list(dict.fromkeys([*self.given, *(each for each in self._members if each in self._confirmed)]))
        return sorted(known, key=lambda each: (self._last_failure(each), leader_first and each != self.leader))

    def unconfirmed(self) -> list[Address]:
        """Those that may be asked for their `/status` alone."""
        return [each for each in self._members if not self.may_be_asked(each)]

    def may_be_asked(self, address: Address) -> bool:
        """Whether it is a node of the cluster, as far as anybody knows."""
        return address in self.given or address in self._confirmed

    def learn(self, address: Address, status: NodeStatus) -> bool:
        """Node `address` has said this. Gives whether it counts: it does not where another cluster was found at an
        address that was learned, or a node that does not know the members yet."""
        if not status.members_known:
            return False
        if address not in self.given and status.cluster != self._cluster:
            self._confirmed.discard(address)
            return False
        if status.cluster != self._cluster:  # the nodes given are another cluster's now: they were recovered, say
            self._cluster = status.cluster
            self._confirmed.clear()
        by_id = {member.id: found for member in status.members if (found := _address_of(kvaddr_of(member))) is not None}
        self._members = tuple(by_id.values())
        self._confirmed.intersection_update(self._members)
        self.leader = by_id.get(status.leader_id) if status.leader_id is not None else None
        if address not in self.given and address in self._members:
            self._confirmed.add(address)
        return True

    def failed(self, address: Address) -> None:
        """It could not be reached, or did not do what it was asked for."""
        self._failed_at[address] = self.now()

    def succeeded(self, address: Address) -> None:
        """It did."""
        self._failed_at.pop(address, None)

    def _last_failure(self, address: Address) -> float:
        failed_at = self._failed_at.get(address)
        return 0.0 if failed_at is None or failed_at + FORGIVEN_AFTER <= self.now() else 1.0 + failed_at


def _address_of(text: str) -> Address | None:
    try:
        return Address.parse(text)
    except SettingsError:  # it has none, or one that only it understands
        return None
