"""Where a node listens, and what it says where it cannot."""

import errno
import socket
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.ports import name_of, reserve_port, sockets_of
from txraft.addresses import Address, Endpoint
from txraft.errors import ListenError, SettingsError
from txraft.ports import PortsSoFar, bind_kv, bind_ports, bind_raft, bind_so_far
from txraft.settings import Member, Settings


def member(id: int) -> Member:
    """Of a cluster on this machine."""
    return Member(id, Address("127.0.0.1", reserve_port()), Address("127.0.0.1", reserve_port()))


class PortTests(SynchronousTestCase):
    def bind(
        self, *members: Member, id: int = 0, kvaddr: Address | None = None, address: Address | None = None
    ) -> tuple[Any, Any]:
        """Where both sockets listen."""
        ports = bind_ports(Settings(members), id, kvaddr, address)
        self.assertEqual((ports.address, ports.kvaddr), (address, kvaddr))
        raft, kv = sockets_of(ports)
        for each in (raft, kv):
            self.addCleanup(each.close)
            self.assertFalse(each.getblocking())
            self.assertTrue(each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        return raft.getsockname(), kv.getsockname()

    def test_where_it_is_reached(self) -> None:
        """Unless bind, kvbind, --address or --kvaddr say otherwise, the last two above all."""
        plain, bound = member(0), member(0)
        self.assertEqual(self.bind(plain), (name_of(plain.address), name_of(plain.kvaddr)))
        bound = evolve(bound, bind=Address("0.0.0.0", reserve_port()), kvbind=Address("0.0.0.0", reserve_port()))
        self.assertEqual(self.bind(bound), (name_of(bound.bind), name_of(bound.kvbind)))
        for node in (member(0), evolve(member(0), bind=bound.bind, kvbind=bound.kvbind)):
            given, other = (Address("127.0.0.1", reserve_port()) for _ in range(2))
            self.assertEqual(self.bind(node, kvaddr=given, address=other), (name_of(other), name_of(given)))

    def test_two_on_one(self) -> None:
        """--kvaddr may not be where the other nodes reach this one."""
        node = member(0)
        line = str(self.assertRaises(SettingsError, bind_ports, Settings((node,)), 0, node.address))
        self.assertEqual(line, f"kvaddr: node 0 cannot listen on {node.address} both for nodes and for clients")

    def test_closed(self) -> None:
        """Both, so that another process may listen there."""
        node = member(0)
        ports = bind_ports(Settings((node,)), 0)
        ports.close()
        self.assertEqual([each.fileno() for each in sockets_of(ports)], [-1, -1])

    def test_so_far(self) -> None:
        """A node that is to join listens where it knows already, and at the rest when it is told."""
        node, other = member(0), member(1)
        self.assertEqual(bind_so_far(None), PortsSoFar())
        for known, kvaddr, address, raft, kv in (
            (node, None, None, node.address, node.kvaddr),
            (other, node.kvaddr, node.address, node.address, node.kvaddr),
            (None, node.kvaddr, None, other.address, node.kvaddr),
            (None, None, node.address, node.address, other.kvaddr),
            (None, node.kvaddr, node.address, node.address, node.kvaddr),
            (None, None, None, other.address, other.kvaddr),
        ):
            ports = bind_so_far(known, kvaddr, address)
            bound = ports.complete(other.address, other.kvaddr)
            self.assertEqual((bound.address, bound.kvaddr), (address, kvaddr))
            self.assertEqual([each.getsockname() for each in sockets_of(bound)], [name_of(raft), name_of(kv)])
            ports.close()
            self.assertEqual([each.fileno() for each in sockets_of(bound)], [-1, -1])

    def test_so_far_and_no_further(self) -> None:
        """What is bound is let go of where the rest is taken."""
        node = member(0)
        ports = bind_so_far(None, node.kvaddr)
        self.assertRaises(ListenError, ports.complete, node.kvaddr, node.kvaddr)
        ports.close()
        self.assertRaises(ListenError, bind_so_far, None, node.kvaddr, node.kvaddr)
        bind_so_far(None, node.kvaddr).close()

    def test_localhost_is_that_of_version_4(self) -> None:
        """It is ::1 too; what dials it tries both."""
        plain = evolve(member(0), address=Address("localhost", reserve_port()))
        self.assertEqual(self.bind(plain)[0], ("127.0.0.1", name_of(plain.address)[1]))

    def test_taken(self) -> None:
        """The line names the address and the key; the other port is free again."""
        for key, bind in (("address", "bind"), ("kvaddr", "kvbind")):
            node = member(0)
            address: Address = getattr(node, key)
            with closing(socket.create_server((address.host, address.port))):
                line = str(self.assertRaises(ListenError, bind_ports, Settings((node,)), 0))
            advice = (
                f"end what listens there, or say where else this node is to listen: --{key} HOST:PORT, or {bind} in its"
                " file (--config)"
            )
            self.assertEqual(line, f"cannot listen on {address}: Address already in use; {advice}")
            self.bind(node)

    def test_nothing_stays_open(self) -> None:
        """Of a port that cannot be listened on."""
        with patch("txraft.ports.socket.socket") as made:
            made.return_value.bind.side_effect = OSError(errno.EADDRINUSE, "Address already in use")
            self.assertRaises(ListenError, bind_ports, Settings((member(0),)), 0)
        made.return_value.close.assert_called_once_with()

    def test_not_of_this_machine(self) -> None:
        """Nothing listens there that could be ended."""
        for host, reason in (("203.0.113.1", "Cannot assign requested address"), ("a.invalid", "")):
            node = evolve(member(0), kvaddr=Address(host, 1234))
            line = str(self.assertRaises(ListenError, bind_ports, Settings((node,)), 0))
            self.assertTrue(line.startswith(f"cannot listen on {host}:1234: {reason}"), line)
            self.assertTrue(line.endswith(": --kvaddr HOST:PORT, or kvbind in its file (--config)"), line)

    def test_in_the_file_system(self) -> None:
        """A socket that nobody answers at is one of a node that was killed, whatever process has its id by now; what is
        no socket, or is answered at, stays."""
        with TemporaryDirectory() as directory:  # a socket's name is 107 bytes at most
            path = Path(directory, "socket")
            for text in (f"unix:{path}", f"unix:address={path}:mode=600"):
                with closing(socket.socket(socket.AF_UNIX)) as listening:
                    listening.bind(str(path))
                    listening.listen()
                    line = str(self.assertRaises(ListenError, bind_raft, Endpoint(text)))
                    self.assertTrue(line.startswith(f"cannot listen on {text}: Address already in use; end what"), line)
                self.assertTrue(path.is_socket())
                self.assertEqual(bind_raft(Endpoint(text)), Endpoint(f"{text}:lockfile=0"))
                self.assertFalse(path.exists())
            path.write_text("somebody's")
            line = str(self.assertRaises(ListenError, bind_raft, Endpoint(f"unix:{path}")))
            self.assertIn(": there is something else, which is no socket; move it away, or say where else", line)
            self.assertEqual(path.read_text(), "somebody's")
        for gone, why in ((path, "No such file or directory"), (Path("/" + "a" * 108), "AF_UNIX path too long")):
            line = str(self.assertRaises(ListenError, bind_kv, Endpoint(f"unix:{gone}")))
            advice = "say where else this node is to listen: --kvaddr HOST:PORT, or kvbind in its file (--config)"
            self.assertEqual(line, f"cannot listen on unix:{gone}: {why}; {advice}")

    def test_later(self) -> None:
        """At any other endpoint it listens when it starts."""
        for text in ("tcp:1:backlog=3", "systemd:domain=INET:index=0", "unix:a:lockfile=0", "ssl:1:privateKey=k"):
            self.assertEqual(bind_raft(Endpoint(text)), Endpoint(text))

    def test_not_of_this_cluster(self) -> None:
        self.assertRaises(SettingsError, bind_ports, Settings((member(0),)), 1)
