"""One run: a cluster under faults, then healed, then asked whether it serves. The same plan gives the same run.

    run_of(plan_of(seed)).violation    # None, or what rule did not hold

What is replicated is the key-value store, or what `txraft.testing.application` makes of a state machine of your own.

First the faults of the plan, while clients work, and in some runs members come and go: safety. Then a minority only is
out of order, and within a bounded time the others must serve. Then everything is healed, and within a bounded time
there must be one leader whom all members follow, all their logs and states must be equal, and every one must serve:
liveness. Whoever was to get a vote has it by then, and nobody has to do with those who were removed. In some runs a
disk is lost then. What the clients saw, in all parts, must be linearizable. In the end no log may be longer than it has
to be.
"""

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from random import Random

from attrs import define
from twisted.python.failure import Failure

from txraft.core.roles import Role
from txraft.errors import BadCommand, NoSuchVoter, Undecided
from txraft.kv import Set
from txraft.testing.application import Application
from txraft.testing.clients import Client, Ledger, ask_for_any, ask_for_keys, proposal_of
from txraft.testing.cluster import ELECTION_TIMEOUT, REQUEST_TIMEOUT, Cluster
from txraft.testing.data import KeyValueApplication, key_of, number_of
from txraft.testing.durability import Durability
from txraft.testing.faults import Nemesis
from txraft.testing.history import Get, History
from txraft.testing.invariants import Invariants
from txraft.testing.keeping import keep
from txraft.testing.links import Noise
from txraft.testing.lost_disk import lose_a_disk
from txraft.testing.machine import Machine
from txraft.testing.operating import Operator
from txraft.testing.plan import Kind, Plan, of_a_minority
from txraft.testing.quick_disk import quick_directory
from txraft.testing.report import Report
from txraft.testing.requests import Look, Request
from txraft.testing.schedule import Schedule
from txraft.testing.slowness import bear_slow_disks, bear_slow_work
from txraft.testing.standing import behind, changing, leaderless, lingering, states_of
from txraft.testing.transcript import Transcript
from txraft.testing.violation import Violation
from txraft.testing.watcher import Judges

LARGER_THAN_A_MESSAGE, LARGER_THAN_A_BOX = 200, 70_000
"""Bytes that every tenth value has: more than a message may where a plan is tight, and more than an AMP box can."""
SETTLES_WITHIN = 16 * ELECTION_TIMEOUT
"""So long after everything is healed, there is one leader, and all nodes are equal. A write that a disk stalled, a
clock that went back, and TCP's and the network's waiting to dial again take their part of it."""
SERVES_WITHIN = 10 * ELECTION_TIMEOUT
STABLE_FOR = 5 * ELECTION_TIMEOUT
LOOK = 0.02
"""Seconds between two looks whether it has settled."""


def run_of(plan: Plan, transcript: bool = False, application: Callable[[], Application] | None = None) -> Report:
    """Run a plan, with the key-value store or another application. An exception that gets out is a rule that does not
    hold, also one that would end a process or a task. Raises only what comes of Control-C, and BadCommand where the
    application draws a command that makes no sense."""
    with quick_directory() if plan.files or application else nullcontext() as directory:
        simulation = Simulation(plan, transcript, Path(directory) if directory else None, application)
        try:
            simulation.run()
        except (KeyboardInterrupt, BadCommand) as error:
            error.add_note(f"in the simulation of seed {plan.seed}")
            raise
        except Violation as violation:
            simulation.violated(violation)
        except BaseException:
            simulation.violated(Violation("Exception", f"one gets out:\n{traceback.format_exc()}"))
        finally:
            simulation.close()
    return Report(
        plan,
        simulation.violation,
        simulation.schedule.steps,
        simulation.ledger.operations,
        simulation.ledger.done,
        len(simulation.invariants.failed),
        simulation.judges.not_kept,
        simulation.nemesis.counts,
        simulation.operator.counts,
        simulation.transcript.lines,
    )


@define(eq=False, init=False, slots=False)
class Simulation:
    """The cluster and everything around it, joined."""

    violation: Violation | None

    def __init__(
        self,
        plan: Plan,
        transcript: bool = False,
        directory: Path | None = None,
        application: Callable[[], Application] | None = None,
    ) -> None:
        """`directory` is where the disks keep real files, if they do."""
        self.plan = plan
        self.violation = None
        self.random = random = Random(plan.seed)
        self.schedule = schedule = Schedule()
        self.transcript = Transcript(schedule, transcript)
        self.cluster = cluster = Cluster(plan, schedule, random)
        self.memberships, self.machines, links = cluster.memberships, cluster.machines, cluster.links
        self.invariants = Invariants(cluster.synced_on, self.memberships, number_of)
        own = application() if application is not None else None
        self._draw = partial(ask_for_any, own) if own is not None else partial(ask_for_keys, plan.keys)
        self._is_key_value = own is None
        self.application: Application = KeyValueApplication() if own is None else own
        self.judges = Judges(self.invariants, Durability(self.invariants), self.transcript, self.violated)
        cluster.build(self.application, self.judges, directory)
        everyone = list(self.machines.values())
        self.ledger = Ledger(
            schedule,
            History(lambda: schedule.now),
            self.invariants,
            self.violated,
            say=self._say,
            request_timeout=REQUEST_TIMEOUT,
            large=LARGER_THAN_A_BOX if plan.streams else LARGER_THAN_A_MESSAGE,
        )
        self.clients = [self._client(name, everyone) for name in range(1, plan.clients + 1)]
        self.nemesis = Nemesis(schedule, Random(random.getrandbits(64)), links, everyone, plan.noise, self._say)
        self.operator = Operator(
            schedule,
            Random(f"operator {plan.seed}"),
            self.machines,
            self.memberships,
            self.violated,
            self._say,
        )
        for machine in everyone:
            machine.on_cut = self.nemesis.cut
            machine.on_removed = self.operator.was_removed

    def run(self) -> None:
        """Run it all, or up to the first violation."""
        phases = (
            self._suffer,
            self._bear_slowness,
            self._serve_without_a_minority,
            self._recover,
            self._hold_still,
            self._serve,
            self._lose_a_disk,
            self._compare,
            self._keep,
        )
        for phase in phases:
            if self.violation is None:
                phase()

    def violated(self, violation: Violation) -> None:
        """A rule does not hold. The first one counts."""
        if self.violation is None:
            self.violation = violation
            self._say("", f"VIOLATED: {violation}")

    def close(self) -> None:
        """Let go of the files, and of what the state machines have open."""
        for machine in self.machines.values():
            machine.close()

    def _client(self, name: int, machines: list[Machine]) -> Client:
        random = Random(self.random.getrandbits(64))
        return Client(name, self.ledger, machines, random, self._draw, self.plan.pause, patience=0.6)

    def _say(self, who: str, what: str) -> None:
        if self.transcript.on:
            self.transcript.add(who, what)

    # The phases

    def _suffer(self) -> None:
        """Clients work, and what can go wrong does."""
        for machine in self.machines.values():
            machine.start()
        for client in self.clients:
            client.start()
        self.nemesis.start(self.plan.faults)
        self.operator.start(self.plan.orders)
        if self.plan.seed % 8 == 0:
            self.schedule.after(self.plan.lasts / 2, self.nemesis.forge_a_term)
        self._until(self.plan.lasts)

    def _bear_slowness(self) -> None:
        """Disks are slow, and there is no reason to change the leader (hazards S11 and S12)."""
        if self.plan.slow_disks:
            self._bear(bear_slow_disks)
        if self.plan.slow_work:
            self._bear(bear_slow_work)

    def _bear(self, steps_of: Callable[[Sequence[Machine], float, Random], Iterator[float]]) -> None:
        self._heal()
        # What is late may be an earlier leader's word to campaign.
        self._until(self._healed_at + Noise().late_by)
        self._require(SETTLES_WITHIN, lambda: self._in_motion() or leaderless(self.cluster.members()))
        if self.violation is not None:
            return
        try:
            for seconds in steps_of(self.cluster.voters(), ELECTION_TIMEOUT, self.random):
                self._until(self.schedule.now + seconds)
        except Violation as violation:
            self.violated(violation)

    def _serve_without_a_minority(self) -> None:
        """A minority is dead, cut off one way or both, or has a disk that is slow or hangs: the others agree on a
        leader, and serve (hazards E8, R18 and S12). The clients go on, and an earlier transfer may still come into
        effect, so a request may have to be sent more than once."""
        if not self.plan.lasting:
            return
        self._heal()
        lasting = self.plan.lasting
        if self.plan.orders:
            self._require(SETTLES_WITHIN, lambda: self._in_motion() or leaderless(self.cluster.members()))
            lasting = of_a_minority(lasting, [each.id for each in self.cluster.voters()], self.plan.without_pre_vote)
        self.nemesis.leave(lasting)
        away = {fault.target for fault in lasting if fault.kind is not Kind.SLOW_DISK}
        # Who is slow may lead, but where it does not it lags far behind.
        slow = {fault.target for fault in lasting} - away
        present = [machine for machine in self.cluster.members() if machine.id not in away]
        began = self.schedule.now
        self._require(SETTLES_WITHIN, lambda: self._leaderless(present, self.schedule.now - began))
        self._ask([machine for machine in present if machine.id not in slow], persistent=True)

    def _leaderless(self, present: Sequence[Machine], elapsed: float) -> str:
        """Why those present do not follow one of them. A leader whose disk hangs leads on, and serves reads, as long as
        nothing is to be written (hazard S12): where the clients have not written for a while, it may lead."""
        why = leaderless(present)
        if not why or elapsed < STABLE_FOR:
            return why
        idle = [each for each in self.cluster.members() if each.disk.hangs and each.disk.under_way is None]
        return leaderless([*present, *idle]) if idle else why

    def _recover(self) -> None:
        """Everything is healed, and nobody asks for anything new."""
        for client in self.clients:
            client.stopped = True
        self._heal()
        self._require(SETTLES_WITHIN, self._unsettled)

    def _heal(self) -> None:
        self.nemesis.heal()
        self.operator.heal()
        self._healed_at = self.schedule.now
        if self.plan.streams:
            # A stream carries nothing before what the noise has made late.
            self._until(self.schedule.now + Noise().late_by)

    def _serve(self) -> None:
        """Every node is asked, in half of the runs while leadership is handed over: nobody need notice (hazard C4).
        Only where little may wait at once, some have to ask again."""
        handed_over = self._hand_over() if self.plan.seed % 2 else lambda: None
        self._ask(self.cluster.members(), persistent=self.plan.tight)
        self._require(SETTLES_WITHIN, self._unsettled)
        handed_over()

    def _hand_over(self) -> Callable[[], None]:
        """Ask a node for a transfer of leadership to a node. Gives back what sees to it that it has succeeded."""
        seed, everyone = self.plan.seed, self.cluster.voters()
        asked, target = everyone[seed // 16 % len(everyone)], everyone[seed // 2 % len(everyone)]
        answer = self.nemesis.transfer(asked, target)

        def check() -> None:
            if answer != [None] or target.node.view.role is not Role.LEADER:
                self.violated(Violation("Transfer", f"without faults, that to node {target.id} came to {answer}"))

        return check

    def _lose_a_disk(self) -> None:
        """One disk is lost for good."""
        if not self.plan.streams or self.plan.orders or self.plan.nodes < 3 or self.plan.seed % 8 != 4:
            return
        others = list(self.machines.values())
        lost = others.pop(self.plan.seed // 8 % len(others))
        steps = lose_a_disk(lost, others, lambda: self._ask(others[:1], persistent=True), self._unsettled)
        self._take(steps)

    def _hold_still(self) -> None:
        """What was late is there by now; nobody campaigns, nor hands over, for no reason."""
        self._until(max(self.schedule.now, self._healed_at + Noise().late_by))
        self._require(SETTLES_WITHIN, self._unsettled)
        members = self.cluster.members()
        before = [machine.node.view for machine in members]
        self._until(self.schedule.now + STABLE_FOR)
        if self.violation is None and before != [machine.node.view for machine in members]:
            states = states_of(members)
            self.violated(Violation("Stability", f"in {STABLE_FOR:g} s in which nothing happened: {states}"))

    def _until(self, time: float) -> None:
        if self.violation is None:
            self.schedule.run(time, self._is_violated)

    def _is_violated(self) -> bool:
        return self.violation is not None

    def _require(self, within: float, reason: "Callable[[], str]") -> None:
        """Let up to `within` seconds pass until there is no more reason to wait."""
        deadline = self.schedule.now + within
        while self.violation is None and (why := reason()):
            if self.schedule.now >= deadline:
                self.violated(Violation("Liveness", f"{within:g} s without new faults, and {why}"))
            self._until(self.schedule.now + LOOK)

    def _take(self, steps: "Iterator[Callable[[], str]]") -> None:
        """One after the other, each when there is no more reason to wait for the one before."""
        while self.violation is None and (step := next(steps, None)):
            self._require(SETTLES_WITHIN, step)

    def _unsettled(self) -> str:
        """Why the cluster is not one, with one leader."""
        if any(client.under_way is not None for client in self.clients):
            return "a request is still under way"
        machines = self.cluster.members()
        going_on = self._in_motion() or leaderless(machines) or behind(machines)
        return going_on or lingering(machines, self.memberships.latest.removed)

    def _in_motion(self) -> str:
        """Why the leader, or the members, may yet change."""
        if self.nemesis.transfers_go_on():
            return "leadership is still being handed over"
        self.operator.provide()
        if self.operator.goes_on():
            return "a change of the members is not answered"
        return changing(self.cluster.members(), self.memberships.latest, self.memberships.strays)

    def _ask(self, machines: Sequence[Machine], persistent: bool = False) -> None:
        """Two requests to each of these nodes, from clients of their own. They must all be served."""
        asking: list[Client] = []
        for machine in machines:
            for request in self._requests_for(machine, large=machine is machines[0]):
                client = self._client(len(self.clients) + len(asking) + 1, [machine])
                client.stopped, client.persistent, client.patience = True, persistent, 2 * SERVES_WITHIN
                asking.append(client)
                client.send(request, machine)
        self._require(SERVES_WITHIN, lambda: self._unserved(asking))
        self.clients += asking

    def _requests_for(self, machine: Machine, large: bool) -> Sequence[Request]:
        """A change and a read."""
        application = machine.around.application
        if not self._is_key_value:
            return proposal_of(application, self.random), Look()
        key = key_of(machine.id % self.plan.keys)
        value = b"last %d" % self.ledger.operations + b"." * (self.ledger.large if large else 0)
        return Set(key, value), Get(key)

    def _unserved(self, asking: Sequence[Client]) -> str:
        """Which of these clients' requests has not been answered, or not with a result."""
        for client in asking:
            if client.under_way is not None:
                return f"operation {client.under_way.number} has no answer: {states_of(self.cluster.members())}"
            if client.failed:
                self.violated(Violation("Liveness", f"a node that is well does not serve: {client.failed[0]}"))
        return ""

    def _compare(self) -> None:
        """All states are equal, the clients' history is linearizable, and no transfer has come to anything odd."""
        states = [machine.state_machine.state() for machine in self.cluster.members()]
        if any(state != states[0] for state in states):
            self.violated(Violation("State Machine Safety", f"the states differ: {states}"))
        for answer in self.nemesis.answers():
            if isinstance(answer, Failure) and answer.check(Undecided, NoSuchVoter) is None:
                self.violated(Violation("Answers", f"a transfer came to {answer.getTraceback()}"))
        self.application.judge(self.ledger.history.operations())
        if (violation := self.invariants.none_succeeds()) is not None:
            self.violated(violation)

    def _keep(self) -> None:
        """Logs are cut off, and every state machine but the store's, which has tests, gives what one can be made of."""
        self._take(keep(self.cluster.members(), self.violated, makes_others=not self._is_key_value))
