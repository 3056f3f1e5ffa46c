"""What each fault does, and what ends it."""

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

from attrs import define, field

from txraft.core.messages import NodeId, RequestVote
from txraft.core.roles import Role
from txraft.testing.disk import FAST
from txraft.testing.links import Links, Noise
from txraft.testing.machine import Machine
from txraft.testing.memberships import holds_majorities
from txraft.testing.plan import Fault, Kind
from txraft.testing.schedule import Process, Schedule

ON_PROCESS = {
    Kind.CRASH,
    Kind.CRASH_SOON,
    Kind.CRASH_ALL,
    Kind.CRASH_VOTER,
    Kind.CRASH_AT_WORK,
    Kind.OTHER_DISK,
    Kind.STOP,
}
ON_DISK = {
    Kind.SLOW_DISK,
    Kind.STALLED_DISK,
    Kind.HANGING_DISK,
    Kind.FAILING_DISK,
    Kind.FULL_DISK,
    Kind.NO_ROOM,
    Kind.SLOW_WORK,
}

Way = tuple[NodeId, NodeId]
End = Callable[[], None]


@define(eq=False)
class Nemesis:
    """Does to the cluster what the plan says."""

    schedule: Schedule
    random: Random
    links: Links
    machines: Sequence[Machine]
    calm: Noise
    """What the network does while there is no fault in it."""
    say: Callable[[str, str], None]
    counts: "Counter[str]" = field(factory=Counter)
    healed: bool = False
    _transfers: list[tuple[Process, list[object]]] = field(factory=list)

    def start(self, faults: Sequence[Fault]) -> None:
        """Let the faults come, each at its time."""
        self.links.noise = self.calm
        for fault in faults:
            self.schedule.after(fault.at, self._begin, fault)

    def heal(self) -> None:
        """End everything: nothing is wrong, all nodes run, and no fault comes any more by itself."""
        self.healed = True
        self.say("", "HEALED")
        self.links.heal()
        for machine in self.machines:
            machine.heal()

    def leave(self, faults: Sequence[Fault]) -> None:
        """Begin these, which last until everything is healed again."""
        for fault in faults:
            self._inflict(fault)

    def forge_a_term(self) -> None:
        """Each node gets some RequestVotes of a term that nobody has counted to, from another node as it seems, and
        with the word that gets round all other rules (hazard N8)."""
        self.say("", "FORGED: RequestVotes to each node")
        for machine, other in zip(self.machines, [*self.machines[1:], *self.machines[:1]], strict=True):
            for _ in range(4):
                machine.deliver(other.id, RequestVote(2**48, 2**48, 2**48, 1, pre_vote=False, leadership_transfer=True))

    def _begin(self, fault: Fault) -> None:
        if not self.healed:
            self.schedule.after(fault.lasts, self._end, fault, self._inflict(fault))

    def _inflict(self, fault: Fault) -> End:
        machine = self._target(fault)
        self.say("", f"FAULT {fault.number}: {fault.kind.value}, node {machine.id}, for {fault.lasts:.3f} s")
        end = self._effect(fault, machine)
        self.counts[fault.kind.value] += end is not _nothing_to_do
        return end

    def _end(self, fault: Fault, end: End) -> None:
        if not self.healed:
            self.say("", f"end of fault {fault.number}: {fault.kind.value}")
            end()

    def _target(self, fault: Fault) -> Machine:
        leading = [each for each in self.machines if each.process is not None and each.node.view.role is Role.LEADER]
        if fault.target == 0 and leading:
            return max(leading, key=lambda machine: machine.node.view.current_term)
        machine = self.machines[(fault.target - 1) % len(self.machines)] if fault.target else self.machines[0]
        installed = [each for each in self.machines if each.installed]
        return machine if machine.installed else installed[fault.number % len(installed)]

    def _effect(self, fault: Fault, machine: Machine) -> End:
        """Begin a fault; gives back what ends it."""
        match fault.kind:
            case kind if kind in ON_PROCESS:
                return self._on_process(fault, machine)
            case Kind.PAUSE | Kind.STUTTER:
                return self._stop_and_go(fault, machine)
            case kind if kind in ON_DISK:
                return self._on_disk(fault, machine)
            case Kind.CLOCK_SPEED | Kind.CLOCK_JUMP:
                return self._on_clock(fault, machine)
            case Kind.STRAND | Kind.NOISE | Kind.BREAK | Kind.CUT_SNAPSHOT | Kind.TRANSFER:
                return self._on_traffic(fault, machine)
            case _:
                return self._cut(self._ways(fault, machine.id))

    def _on_traffic(self, fault: Fault, machine: Machine) -> End:
        match fault.kind:
            case Kind.STRAND:
                return self._strand(fault, machine)
            case Kind.NOISE:
                self.links.noise = Noise(0.3 * fault.detail, 0.3 * self.random.random(), 0.3 * self.random.random())
                return self._calm_down
            case Kind.BREAK:
                self._break_connections(machine)
                return _nothing
            case Kind.CUT_SNAPSHOT:
                for each in self.machines:
                    each.cuts_after = int(fault.detail * 4)
                return _nothing
            case _ if machine.process is None:
                return _nothing_to_do
            case _:
                target, deaf = self.random.choice(self.machines), fault.detail < 0.3 and len(self.machines) > 1
                self.say("", f"to node {target.id}{', which is deaf' if deaf else ''}")
                self.transfer(machine, target)
                # What is to tell a deaf one is lost; over streams, it is late.
                return self._cut(self._to(target.id)) if deaf else _nothing

    def transfer(self, machine: Machine, target: Machine) -> list[object]:
        """Ask a node, which runs, to have leadership handed over. Gives back where its answer will be, if one comes: a
        failure, or None."""
        answer: list[object] = []
        if machine.process is not None:
            self._transfers.append((machine.process, answer))
            machine.process.enter(self._transfer, machine, target, answer)
        return answer

    def transfers_go_on(self) -> bool:
        """Whether a transfer that was asked for is not answered yet."""
        return any(process.alive and not answer for process, answer in self._transfers)

    def answers(self) -> list[object]:
        """What has become of all transfers."""
        return [each for _, answer in self._transfers for each in answer]

    def _transfer(self, machine: Machine, target: Machine, answer: list[object]) -> None:
        machine.replica.transfer_leadership(target.id).addBoth(answer.append)

    def _on_process(self, fault: Fault, machine: Machine) -> End:
        process = machine.process
        if fault.kind is Kind.CRASH_ALL:
            for each in self.machines:
                each.crash("all at once")
            return self._start_all
        if fault.kind is Kind.OTHER_DISK:
            return self._exchange_disk(fault, machine)
        if process is None:
            return _nothing_to_do
        match fault.kind:
            case Kind.CRASH_SOON:
                machine.dies_after = int(fault.detail * 12)
            case Kind.CRASH_VOTER:
                machine.dies_voting = True
                return _nothing
            case Kind.CRASH_AT_WORK:
                if fault.detail < 0.5:
                    machine.dies_at_work = int(fault.detail * 40)
                else:
                    machine.dies_installing = True
                return _nothing
            case Kind.STOP:
                machine.stop()
            case _:
                machine.crash("by chance")
        return machine.start

    def _exchange_disk(self, fault: Fault, machine: Machine) -> End:
        """A node is started on an empty disk, or on what was on it before its last start, until somebody puts back what
        was there (hazard S6). Not where another node may have to let that in: one that does not know better, because
        it has never met the node, or has itself forgotten."""
        disk, others = machine.disk, [each.disk for each in self.machines if each is not machine and each.installed]
        earlier = disk.earlier if fault.detail < 0.5 else None
        starts = 0 if earlier is None else earlier.starts
        known = [each.synced.peers.get(machine.id) for each in others]
        have_forgotten = any(each.disk.original is not None for each in self.machines)
        if not others or have_forgotten or any(each is None or each.starts <= starts for each in known):
            return _nothing_to_do
        other = disk.synced.empty() if earlier is None else earlier.copy()
        if holds_majorities(other.configuration(disk.bootstrap), {machine.id}):  # it would ask nobody
            return _nothing_to_do
        machine.run_on(other)

        def end() -> None:
            machine.put_back()
            machine.start()

        return end

    def _stop_and_go(self, fault: Fault, machine: Machine) -> End:
        process = machine.process
        if process is None:
            return _nothing_to_do
        if fault.kind is Kind.PAUSE:
            process.pause()
        else:
            self._stutter(process, self.schedule.now + fault.lasts)
        return process.resume

    def _stutter(self, process: Process, until: float) -> None:
        """Stand still for a few heartbeats, go on for about one, and so on."""
        if self.healed:  # and may stand still for another reason by now
            return
        if self.schedule.now >= until:
            process.resume()
        elif process.paused:
            process.resume()
            self.schedule.after(self.random.uniform(0.0, 0.06), self._stutter, process, until)
        else:
            process.pause()
            self.schedule.after(self.random.uniform(0.05, 0.3), self._stutter, process, until)

    def _on_disk(self, fault: Fault, machine: Machine) -> End:
        disk = machine.disk

        def end() -> None:
            disk.delay = disk.work_delay = FAST
            disk.full = disk.has_no_room = False
            disk.go_on()
            machine.start()

        match fault.kind:
            case Kind.SLOW_DISK:
                disk.delay = (0.01, 0.01 + 0.2 * fault.detail)
            case Kind.STALLED_DISK:
                disk.delay = _stall(fault)
            case Kind.HANGING_DISK:
                disk.hangs = True
            case Kind.FULL_DISK:
                disk.full = True
            case Kind.NO_ROOM:
                disk.has_no_room = True
            case Kind.SLOW_WORK:
                disk.work_delay = (0.02, 0.02 + 0.4 * fault.detail)
            case _:
                disk.fails = True
        return end

    def cut(self, receiver: Machine, sender: NodeId) -> None:
        """Break the connections between a machine and the one that sends it a snapshot."""
        self.say("", f"CUT: the snapshot from n{sender} to n{receiver.id}")
        receiver.break_connection(sender)
        self.machines[sender - 1].break_connection(receiver.id)

    def _on_clock(self, fault: Fault, machine: Machine) -> End:
        process = machine.process
        if process is None:
            return _nothing_to_do
        if fault.kind is Kind.CLOCK_JUMP:
            process.set_clock(jump=(fault.detail - 0.3) * 2)
            return _nothing
        process.set_clock(rate=0.5 + 1.5 * fault.detail)
        return lambda: process.set_clock(rate=1.0)

    def _strand(self, fault: Fault, machine: Machine) -> End:
        """A node is alone, with a slow disk: when it is back its writes, and what waits for them, lag behind."""
        if fault.detail < 0.7:
            machine.disk.delay = _stall(fault)
        others = [each.id for each in self.machines if each is not machine]
        join = self._cut(_between([machine.id], others))

        def end() -> None:
            machine.disk.delay = FAST
            join()

        return end

    def _ways(self, fault: Fault, node: NodeId) -> list[Way]:
        """Which ways a cut closes."""
        ids = [machine.id for machine in self.machines]
        self.random.shuffle(ids)
        half = (len(ids) + self.random.randrange(2)) // 2
        others = [each for each in ids if each != node]
        shapes = {
            Kind.ISOLATE: _between([node], others),
            Kind.DEAF: self._to(node),
            Kind.MUTE: [(node, other) for other in others],
            Kind.LINK: _between([node], others[:1]),
            Kind.ONE_WAY: [(node, other) for other in others[:1]],
            Kind.HALVES: _between(ids[:half], ids[half:]),
            Kind.BRIDGE: _between(others[: len(others) // 2], others[len(others) // 2 :]),
            Kind.RING: _ring([node, *others]),
        }
        return shapes[fault.kind]

    def _to(self, node: NodeId) -> list[Way]:
        return [(other.id, node) for other in self.machines if other.id != node]

    def _cut(self, ways: list[Way]) -> End:
        if not ways:
            return _nothing_to_do
        self.links.cut(ways)
        for one, other in ways:
            # Sooner or later somebody notices that nothing comes through; or the cut is over first.
            if self.random.random() < 0.5:
                self.schedule.after(self.random.random(), self._notice, one, other)
        return lambda: self.links.join(ways)

    def _notice(self, one: NodeId, other: NodeId) -> None:
        if not self.links.connects(one, other):
            self.machines[one - 1].break_connection(other)

    def _break_connections(self, machine: Machine) -> None:
        for other in self.machines:
            if self.random.random() < 0.6:
                machine.break_connection(other.id)
            if self.random.random() < 0.6:
                other.break_connection(machine.id)

    def _calm_down(self) -> None:
        self.links.noise = self.calm

    def _start_all(self) -> None:
        for machine in self.machines:
            machine.start()


def _stall(fault: Fault) -> tuple[float, float]:
    """Seconds that a write takes, from and to, on a disk that stalls. One that has begun is not healed."""
    slowest = min(fault.lasts, 0.7)
    return slowest, slowest + 0.3


def _nothing() -> None:
    """What ends by itself."""


def _nothing_to_do() -> None:
    """What has not even begun: there is nobody to cut off, or the process does not run."""


def _between(some: Sequence[NodeId], others: Sequence[NodeId]) -> list[Way]:
    """The ways between two groups, in both directions."""
    return [way for one in some for other in others for way in ((one, other), (other, one))]


def _ring(circle: Sequence[NodeId]) -> list[Way]:
    """Each sees as many neighbours on either side as make a majority with itself, and nobody else."""
    reach = (len(circle) // 2 + 1) // 2
    return [
        (one, other)
        for i, one in enumerate(circle)
        for j, other in enumerate(circle)
        if one != other and min((i - j) % len(circle), (j - i) % len(circle)) > reach
    ]
