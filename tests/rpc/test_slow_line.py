"""A leader keeps leading over slow lines, whatever it has to send: hazard R18."""

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport
from twisted.trial.unittest import SynchronousTestCase

from tests.node.world import STEP, World
from txraft.core.messages import NodeId

PACKET = 1500


class SlowWorld(World):
    """From each node to each other leads one line, which the connections between the two share, packet by packet."""

    def __init__(self, rate: float, one_way: bool = False) -> None:
        """`rate` is each line's, in bytes a second. With `one_way`, only the node of the lower id can dial."""
        self._packets_a_step = round(rate * STEP / PACKET)
        self._one_way = one_way
        super().__init__()

    def connect(self, ends: tuple[NodeId, NodeId], factory: IProtocolFactory) -> "Deferred[IProtocol]":
        """As World.connect."""
        if self._one_way and ends[0] > ends[1]:
            return fail(ConnectionRefusedError())
        return super().connect(ends, factory)

    def settle(self) -> None:
        """Carry as much as goes over each line in one step."""
        self.clock.advance(0)
        for _ in range(self._packets_a_step):
            sent = set()
            self._wires.reverse()  # so that both connections of a pair have their turn
            for wire in tuple(self._wires):
                pump, (client, server) = wire.pump, wire.ends
                rest = []
                for transport, line in ((pump.clientIO, (client, server)), (pump.serverIO, (server, client))):
                    rest.append(_hold_back(transport, 0 if line in sent else PACKET))
                    if transport.stream:
                        sent.add(line)
                pump.pump(advanceClock=False)
                for transport, data in zip((pump.clientIO, pump.serverIO), rest, strict=True):
                    transport.stream[:0] = data
        self.clock.advance(0)


def _hold_back(transport: FakeTransport, size: int) -> list[bytes]:
    """Take from what a transport is to send all but the first `size` bytes."""
    left, transport.stream = transport.stream, []
    while left and size:
        first = left.pop(0)
        transport.stream.append(first[:size])
        if first[size:]:
            left.insert(0, first[size:])
        size -= len(transport.stream[-1])
    return left


class SlowLineTests(SynchronousTestCase):
    """Clients that write as fast as they are answered."""

    def leads_on(self, world: World, size: int, clients: int) -> int:
        """Let `clients` write values of `size` bytes for 10 s, in which one leader goes on to lead; how many bytes were
        committed."""
        self.addCleanup(world.close)
        leader = world.leader()
        world.run(1)
        before = leader.node.view
        results: list[bytes | Failure] = []

        def again(result: bytes | Failure) -> None:
            results.append(result)
            if isinstance(result, bytes):
                leader.node.propose(bytes(size)).addBoth(again)

        for _ in range(clients):
            leader.node.propose(bytes(size)).addBoth(again)
        world.run(10)
        self.assertEqual({machine.node.view.current_term for machine in world}, {before.current_term})
        self.assertEqual({machine.node.view.leader_id for machine in world}, {leader.id})
        return size * len(results)

    def test_small_values_on_one_connection(self) -> None:
        """150 kB a second are enough, also where heartbeats wait behind entries, as nodes can dial one way only."""
        committed = self.leads_on(SlowWorld(150_000, one_way=True), size=5000, clients=300)
        self.assertGreater(committed, 0.8 * 10 * 150_000)

    def test_large_values(self) -> None:
        """Values that take 2 s on the line do not hold up the heartbeats."""
        committed = self.leads_on(SlowWorld(450_000), size=1_000_000, clients=3)
        self.assertGreater(committed, 0.6 * 10 * 450_000)
