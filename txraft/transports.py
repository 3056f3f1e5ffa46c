"""Which transports' sockets may be written to directly, which saves the turn of the reactor that `write` takes."""

from twisted.internet.interfaces import ISSLTransport


def sends_at_once(transport: object) -> bool:
    """Whether `writeSomeData` of a transport sends what its `write` would send, but now.

    A socket's own does. Those that stand between a socket and a protocol, as for TLS, hand on whatever they do not have
    themselves, so theirs is the socket's too, and would go round them; so it would after `startTLS`."""
    return hasattr(type(transport), "writeSomeData") and not ISSLTransport.providedBy(transport)
