"""What the system is asked to do for a connection."""

import socket

from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from txraft.rpc.link_limits import tune


class TuneTests(SynchronousTestCase):
    def test_a_machine_that_is_gone(self) -> None:
        """It is noticed within about so many seconds, whether something waits for its acknowledgement or nothing does.
        What is written leaves at once."""
        for dead_after in (5.0, 10.0, 60.0):
            with socket.socket() as handle:
                tune(Connection(handle, Protocol(), MemoryReactor()), dead_after)

                def option(name: int, of: socket.socket = handle) -> int:
                    return of.getsockopt(socket.IPPROTO_TCP, name)

                self.assertEqual(option(socket.TCP_USER_TIMEOUT), dead_after * 1000)
                self.assertTrue(handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
                probed = option(socket.TCP_KEEPIDLE) + option(socket.TCP_KEEPINTVL) * option(socket.TCP_KEEPCNT)
                self.assertTrue(0.75 * dead_after <= probed <= 1.25 * dead_after, probed)
                self.assertTrue(option(socket.TCP_NODELAY))

    def test_a_peer_that_has_hung_up(self) -> None:
        """A system may refuse options of such a connection. An error here would leave the attempt to dial neither
        succeeded nor failed."""
        with socket.socket() as handle:
            transport = Connection(handle, Protocol(), MemoryReactor())
        tune(transport, 10.0)
        self.flushLoggedErrors(OSError)  # later releases of Twisted log it

    def test_a_socket_of_unix(self) -> None:
        """It has no such options, and to ask for them is an error."""
        handle, other = socket.socketpair(socket.AF_UNIX)
        with handle, other:
            tune(Connection(handle, Protocol(), MemoryReactor()), 10.0)
            self.assertFalse(handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
