"""Which sockets are written to directly."""

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from txraft.transports import sends_at_once


class TransportTests(SynchronousTestCase):
    def test_sends_at_once(self) -> None:
        """A socket's own, and nothing that goes round TLS, or round anything else between a socket and a protocol."""
        self.assertTrue(sends_at_once(FileDescriptor(MemoryReactor())))
        self.assertFalse(sends_at_once(StringTransport()))
        wrapper = ProtocolWrapper(WrappingFactory(Factory()), Protocol())
        wrapper.makeConnection(FileDescriptor(MemoryReactor()))
        self.assertTrue(hasattr(wrapper, "writeSomeData"))
        self.assertFalse(sends_at_once(wrapper))
        encrypting = FileDescriptor(MemoryReactor())
        directlyProvides(encrypting, ISSLTransport)  # as startTLS does
        self.assertFalse(sends_at_once(encrypting))
