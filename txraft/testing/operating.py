"""The operator of a simulated cluster, who changes its membership, and what the nodes say to that.

Whatever is wished, every node that believes it leads is asked for it at about the same time, each for what makes sense
by its own configuration: a stale leader and its successor, too. Where nobody leads, or by chance, a follower is asked
to pass it on. An operator sets a machine up that is to be added, before it is or after, and no other one with its id;
and moves one that gets another address, which it keeps the old one beside until that is done.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txraft.core.changes import Change, ChangeKind
from txraft.core.configuration import Configuration
from txraft.core.messages import NodeId
from txraft.core.roles import Role
from txraft.errors import ChangeRefused, Undecided
from txraft.testing.machine import Machine
from txraft.testing.memberships import Memberships
from txraft.testing.orders import Order, Wish
from txraft.testing.schedule import Process, Schedule
from txraft.testing.violation import Violation

TOGETHER = 0.01
"""Seconds within which all who lead are asked."""
SETS_UP_WITHIN = 0.3
"""Seconds until a machine runs that is to be added."""
STARTS_AGAIN_WITHIN = 0.5
"""Seconds until a supervisor starts a node again that was removed and has ended."""


@define(eq=False)
class Operator:
    """Carries orders out."""

    schedule: Schedule
    random: Random
    machines: Mapping[NodeId, Machine]
    memberships: Memberships
    on_violation: Callable[[Violation], None]
    say: Callable[[str, str], None]
    counts: "Counter[str]" = field(factory=Counter)
    """How often each kind of change was made."""
    healed: bool = False
    _under_way: list[tuple[Process, Machine, list[object]]] = field(factory=list)
    _moves: int = 0

    def start(self, orders: Sequence[Order]) -> None:
        """Let the orders come, each at its time."""
        for order in orders:
            self.schedule.after(order.at, self._carry_out, order)

    def heal(self) -> None:
        """From now on nobody asks for anything."""
        self.healed = True
        self.provide()

    def provide(self) -> None:
        """See to it that a node is set up for every member, and listens where it is said to be."""
        for server, addresses in self.memberships.latest.addresses:
            self.machines[server].addresses.update(addresses)
            self.set_up(self.machines[server])

    def goes_on(self) -> bool:
        """Whether something that was asked for is not answered yet, and may be. A node that is no member any more, and
        hears no leader, may never learn what has come of it: those that it knows of may all have gone or moved."""
        return any(
            process.alive and not answer and self._may_learn(machine) for process, machine, answer in self._under_way
        )

    def _may_learn(self, machine: Machine) -> bool:
        is_member = machine.id in self.memberships.latest.members
        return is_member or machine.process is None or machine.node.view.leader_id is not None

    def was_removed(self, machine: Machine) -> None:
        """A node has ended because it was removed. A supervisor may not know that, and start it again."""
        if not self.healed and self.random.random() < 0.5:
            self.schedule.after(self.random.random() * STARTS_AGAIN_WITHIN, machine.start)

    def set_up(self, machine: Machine) -> None:
        """A node is set up on a machine, if none is. Not while some machine has forgotten whom it knew (hazard S6): a
        new one would let that in."""
        if not machine.installed and all(each.disk.original is None for each in self.machines.values()):
            machine.installed = True
            machine.start()

    # Asking

    def _carry_out(self, order: Order) -> None:
        if self.healed:
            return
        running = [each for each in self.machines.values() if each.process is not None]
        leading = [each for each in running if each.node.view.role is Role.LEADER]
        followers = [each for each in running if each.node.view.leader_id is not None]
        if followers and (not leading or self.random.random() < 0.2):
            leading = [self.random.choice(followers)]
        for machine in leading:
            if changes := self._draw(order, machine):
                for change in changes:
                    self._prepare(change)
                self.schedule.after(self.random.random() * TOGETHER, self._ask, order, machine, changes)

    def _prepare(self, change: Change) -> None:
        machine = self.machines[change.server]
        machine.addresses.update(change.addresses)
        if change.addresses:
            self.schedule.after(self.random.random() * SETS_UP_WITHIN, self.set_up, machine)

    def _ask(self, order: Order, machine: Machine, changes: Sequence[Change]) -> None:
        if machine.process is not None and not self.healed:
            self.say("", f"ORDER {order.number}, {order.wish.value}, for node {machine.id}: {in_words(changes)}")
            answer: list[object] = []
            self._under_way.append((machine.process, machine, answer))
            machine.process.enter(self._put, order, machine, changes, answer)

    def _put(self, order: Order, machine: Machine, changes: Sequence[Change], answer: list[object]) -> None:
        """A leader is asked itself, however stale it is, and any other node through its public face."""
        leads = machine.node.view.role is Role.LEADER
        asked: Deferred[Any] = (machine.node if leads else machine.replica).change_members(changes)
        asked.addBoth(self._answered, order, changes, answer)

    def _answered(self, result: object, order: Order, changes: Sequence[Change], answer: list[object]) -> None:
        answer.append(result)
        if not isinstance(result, Failure):
            self.say("", f"order {order.number} is done")
            self.counts[order.wish.value] += 1
            self._let_go_of_addresses(changes)
            return
        self.say("", f"order {order.number} comes to: {result.getErrorMessage()}")
        if result.check(Undecided, ChangeRefused) is None:
            self.on_violation(Violation("Answers", f"a change comes to {result.getTraceback()}"))

    def _let_go_of_addresses(self, changes: Sequence[Change]) -> None:
        """Who has moved listens no more where it was."""
        for server, addresses in self.memberships.latest.addresses:
            if any(change.kind is ChangeKind.UPDATE and change.server == server for change in changes):
                self.machines[server].addresses.intersection_update(addresses)

    # What to ask for

    def _draw(self, order: Order, machine: Machine) -> Sequence[Change]:
        """What makes sense by the configuration of the node that is asked; nothing, where nothing does."""
        configuration, random = machine.node.configuration, Random(f"{order.detail} {machine.id}")
        members = sorted(configuration.members)
        target = machine.id if order.target == 0 else members[order.target % len(members)]
        if order.wish is not Wish.SEVERAL:
            return self._one(order.wish, configuration, target, random)
        changes: dict[NodeId, Change] = {}
        for _ in range(random.randint(2, 4)):
            wish = random.choice((Wish.ADD, Wish.REMOVE, Wish.REMOVE, Wish.PROMOTE, Wish.DEMOTE, Wish.REPLACE))
            for change in self._one(wish, configuration, target, random):
                changes.setdefault(change.server, change)
            target = random.choice(members)
        return tuple(changes.values())

    def _one(  # noqa: PLR0911 - one for each kind
        self, wish: Wish, configuration: Configuration, target: NodeId, random: Random
    ) -> Sequence[Change]:
        spares = [each for each in self.machines if each not in configuration.members | configuration.removed]
        match wish:
            case Wish.ADD | Wish.ADD_LEARNER | Wish.REPLACE if spares:
                new = random.choice(spares)
                if wish is Wish.ADD:
                    return (Change(ChangeKind.ADD_VOTER, new, (str(new),)),)
                replaces = target if wish is Wish.REPLACE else None
                joins = wish is Wish.REPLACE
                return (Change(ChangeKind.ADD_LEARNER, new, (str(new),), joins, replaces),)
            case Wish.REMOVE:
                return (Change(ChangeKind.REMOVE, target),)
            case Wish.PROMOTE if configuration.learners:
                return (Change(ChangeKind.ADD_VOTER, random.choice(sorted(configuration.learners))),)
            case Wish.DEMOTE if target in configuration.voters:
                return (Change(ChangeKind.ADD_LEARNER, target),)
            case Wish.UPDATE:
                self._moves += 1
                return (Change(ChangeKind.UPDATE, target, (f"{target}.{self._moves}",)),)
            case Wish.REVIVE if configuration.removed:
                old = random.choice(sorted(configuration.removed))
                return (Change(ChangeKind.ADD_VOTER, old, (str(old),)),)
        return ()


def in_words(changes: Sequence[Change]) -> str:
    """On a line."""
    words = [f"{each.kind.value} {each.server}{f' for {each.replaces}' if each.replaces else ''}" for each in changes]
    return ", ".join(words)
