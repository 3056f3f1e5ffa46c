"""`txraft backup`, against servers on loopback that send what a node would, or something else: what it asks for."""

import hashlib
import os
from contextlib import redirect_stderr, redirect_stdout
from http.client import HTTPConnection, HTTPResponse
from io import StringIO
from time import time
from types import SimpleNamespace
from unittest.mock import patch

from tests.cli.backing_up import NOBODY, BackupTestCase, Node, run
from txraft.addresses import Address
from txraft.cli import download, main, progress
from txraft.cli.asking import connect
from txraft.cli.part import RECENT
from txraft.snapshot_writing import RESERVE


class DownloadTests(BackupTestCase):
    def test_made(self) -> None:
        """While the node makes it, it is shown for how long."""
        node = Node(self.content)

        class Log(StringIO):
            def write(self, text: str) -> int:
                node.may_answer.set()
                return super().write(text)

        node.may_answer.clear()
        with (
            patch.object(progress, "INTERVAL", 0.001),
            node.serving() as address,
            redirect_stdout(StringIO()),
            redirect_stderr(Log()) as err,
        ):
            self.assertEqual(main(["backup", str(self.target), "--node", str(address)]), 0)
        self.assertIn(f"{address} makes the backup: for 0 s\n", err.getvalue())

    def test_cut_off(self) -> None:
        """It goes on with what is missing, as often as something comes in between."""
        node = Node(self.content, cuts=[10_000, 10_000, 20_000, 20_001, 20_002, 20_003, 20_004])
        with node.serving() as address:
            self.assertEqual(run(self.target, "--node", str(address))[0], 0)
        self.assertEqual(node.ranges[:4], [None, "bytes=10000-", "bytes=10000-", "bytes=20000-"])
        self.assertEqual((self.target.read_bytes(), self.names()), (self.content, {"a.backup"}))

    def test_run_again(self) -> None:
        """What came stays where nothing more comes, and the next run goes on."""
        node = Node(self.content, cuts=[10_000] * 5)
        with node.serving() as address:
            status, _, err = run(self.target, "--node", str(address))
            self.assertEqual((status, self.part.stat().st_size), (1, 10_000))
            self.assertEqual(
                err,
                f"txraft: {address} closed the connection after 10,000 of {len(self.content):,} bytes, 5 times; what"
                " has come is kept: run this again\n",
            )
            node.ranges.clear()
            self.assertEqual(run(self.target, "--node", str(address))[0], 0)
        self.assertEqual(node.ranges, ["bytes=10000-"])
        self.assertEqual((self.target.read_bytes(), self.names()), (self.content, {"a.backup"}))

    def come_whole(self, node: Node) -> None:
        """All of it comes, and the process ends before it has its name."""
        with node.serving() as address, patch("txraft.cli.part.put_in_place", side_effect=KeyboardInterrupt):
            self.assertEqual(run(self.target, "--node", str(address))[0], 130)
        self.assertEqual(self.part.stat().st_size, len(self.content))
        node.ranges.clear()

    def test_came_whole(self) -> None:
        """What came whole has only to be checked: no node is asked for it."""
        self.come_whole(Node(self.content))
        self.assertEqual(run(self.target, "--node", str(NOBODY))[0], 0)
        self.assertEqual((self.target.read_bytes(), self.names()), (self.content, {"a.backup"}))

    def test_came_long_ago(self) -> None:
        """That of yesterday is not today's: a node says whether it still has it, and sends another one otherwise."""
        node = Node(self.content)
        for still_has_it in (True, False):
            self.come_whole(node)
            os.utime(self.part, (time() - RECENT - 60,) * 2)
            other = node if still_has_it else Node(self.other_content())
            with other.serving() as address:
                self.assertEqual(run(self.target, "--force", "--node", str(address))[0], 0)
            self.assertEqual(other.ranges, [f"bytes={len(self.content)}-"])
            self.assertEqual((self.target.read_bytes(), self.names()), (other.content, {"a.backup"}))
            self.target.unlink()

    def test_same_node(self) -> None:
        """The next run goes on with the node that has the file, also where another one is asked before it otherwise;
        where that is gone, another begins anew."""
        first, second = Node(self.other_content()), Node(self.content, cuts=[10_000] * 5)
        with second.serving() as its_address:
            self.write_config(NOBODY, its_address)
            status, _, err = run(self.target, "--config", self.config)
            self.assertEqual((status, err.count(f"{NOBODY} cannot be reached: ")), (1, 1))
            self.assertNotIn(f"{NOBODY} cannot be reached any more", err)
            with first.serving() as address:
                self.write_config(address, its_address)
                self.assertEqual(run(self.target, "--config", self.config)[0], 0)
                self.assertEqual((first.ranges, second.ranges[-1]), ([], "bytes=10000-"))
                self.assertEqual(self.target.read_bytes(), self.content)
                second.cuts = [10_000] * 5
                run(self.target, "--force", "--node", str(its_address))
        self.assertTrue(self.part.exists())
        with first.serving() as address:
            self.write_config(address, its_address)
            self.assertEqual(run(self.target, "--force", "--config", self.config)[0], 0)
        self.assertEqual((self.target.read_bytes(), self.names()), (first.content, {"a.backup", "txraft.toml"}))

    def test_not_reached(self) -> None:
        """A node that is not there is asked once, and the line says so; what came before stays."""
        with Node(self.content, cuts=[10_000] * 5).serving() as address:
            run(self.target, "--node", str(address))
        with patch.object(download, "sleep") as sleep:
            status, _, err = run(self.target, "--node", str(NOBODY))
        self.assertEqual((status, sleep.call_count, self.part.stat().st_size), (3, 0, 10_000))
        self.assertRegex(
            err, r"^txraft: 127\.0\.0\.1:1 cannot be reached: [^;]*; what has come is kept: run this again\n$"
        )

    def test_gone_for_a_moment(self) -> None:
        """One that was there in this run is tried again."""
        node = Node(self.content, cuts=[10_000])
        with node.serving() as address:
            refusals = iter([None, OSError("refused"), OSError("refused"), None])

            def reached(address: Address) -> HTTPConnection:
                if (error := next(refusals)) is not None:
                    raise error
                return connect(address)

            with patch.object(download, "connect", reached):
                self.assertEqual(run(self.target, "--node", str(address))[0], 0)
        self.assertEqual(node.ranges, [None, "bytes=10000-"])

    def test_another_file(self) -> None:
        """A node that does not keep it any more sends another, of which nothing is taken for the first."""
        with Node(self.other_content(), cuts=[10_000] * 5).serving() as address:
            run(self.target, "--node", str(address))
        self.assertEqual(self.part.stat().st_size, 10_000)
        with Node(self.content).serving() as address:
            self.assertEqual(run(self.target, "--node", str(address))[0], 0)
        self.assertEqual((self.target.read_bytes(), self.names()), (self.content, {"a.backup"}))

    def test_notes_are_lost(self) -> None:
        """Where a power cut took what says what it is the beginning of, all of it comes again."""
        for notes in (b"", b"{", b"7", b'{"sha256": "0", "size": 9, "node": "a:1"}', bytes(90), b"\xff"):
            self.part.write_bytes(b"the beginning of something")
            self.part.with_name("a.backup.txraft-part-of").write_bytes(notes)
            node = Node(self.content)
            with node.serving() as address:
                self.assertEqual(run(self.target, "--force", "--node", str(address))[0], 0)
            self.assertEqual((node.ranges, self.target.read_bytes()), ([None], self.content))
            self.assertEqual(self.names(), {"a.backup"})

    def test_answers_of_others(self) -> None:
        """What is no node's answer is refused in a line, whatever the numbers in it."""
        with Node(self.content, cuts=[10_000] * 5).serving() as address:
            run(self.target, "--node", str(address))
        digest = hashlib.sha256(self.content).hexdigest()
        nines = "9" * 5000
        for status, etag, content_range, line in (
            (200, "W/x", "", "answered 200"),
            (204, digest, "", "answered 204"),
            (206, digest, "bytes 0-9/10", "sent another part than it was asked for"),
            (206, digest, f"bytes 10000-{nines}/{nines}", "sent another part than it was asked for"),
            (416, digest, f"bytes */{nines}", "answered 416"),
        ):
            node = Node(b"")
            node.says = status, b"hello", {"ETag": f'"{etag}"', "Content-Range": content_range}
            with node.serving() as address:
                exit_status, _, err = run(self.target, "--node", str(address))
            self.assertEqual((exit_status, err.count("\n")), (1, 1))
            self.assertIn(line, err)
            self.assertEqual(self.part.stat().st_size, 10_000)

    def test_room(self) -> None:
        """Where there is none for all that is to come, the line says how much that is, and nothing is written."""
        size = len(self.content)
        node = Node(self.content, cuts=[10_000] * 6)
        with node.serving() as address:
            with patch("shutil.disk_usage", return_value=SimpleNamespace(free=RESERVE + size - 1)):
                status, _, err = run(self.target, "--node", str(address))
            self.assertEqual((status, err.count("\n"), self.names()), (1, 1, set()))
            self.assertIn(f"it takes {size:,} bytes more, and {RESERVE:,} have to stay free; the disk has ", err)
            with patch("shutil.disk_usage", return_value=SimpleNamespace(free=RESERVE + size)):
                run(self.target, "--node", str(address))
            self.assertEqual(self.part.stat().st_size, 10_000)
            with patch("shutil.disk_usage", return_value=SimpleNamespace(free=RESERVE)):
                err = run(self.target, "--node", str(address))[2]
            self.assertIn(f"it takes {size - 10_000:,} bytes more", err)
            self.assertIn("; see to the disk and its room; what has come is kept: run this again\n", err)
            with patch("shutil.disk_usage", return_value=SimpleNamespace(free=RESERVE + size - 10_000)):
                self.assertEqual(run(self.target, "--node", str(address))[0], 0)

    def test_another_port(self) -> None:
        """Of what never says anything in HTTP, as a node's Raft does, the line says what it may be."""
        hint = "5 times; a node is asked at its HTTP address, its KVADDR, and not at that of Raft\n"
        with Node(self.content).serving() as address, patch.object(HTTPConnection, "getresponse") as answers:
            answers.side_effect = ConnectionResetError(104, "Connection reset by peer")
            self.assertIn(hint, run(self.target, "--node", str(address))[2])
        node = Node(self.content, cuts=[10_000])
        with node.serving() as address:
            whole = iter([HTTPConnection.getresponse])

            def once(connection: HTTPConnection) -> HTTPResponse:
                for answer in whole:
                    return answer(connection)
                raise ConnectionResetError(104, "Connection reset by peer")

            with patch.object(HTTPConnection, "getresponse", once):
                err = run(self.target, "--node", str(address))[2]
        self.assertIn("Connection reset by peer, 5 times; what has come is kept", err)

    def test_other_nodes(self) -> None:
        """The next node is asked where one is not there, or will not; where none will, all that they said is said."""
        unwilling = Node(b"")
        unwilling.says = 503, b"no room\non the disk", {}
        with unwilling.serving() as first, Node(self.content).serving() as second:
            self.write_config(NOBODY, first, second)
            self.assertEqual(run(self.target, "--config", self.config)[0], 0)
            status, _, err = run(self.directory / "b", "--node", str(first))
        self.assertEqual((status, err), (1, f"txraft: {first} answered 503: no room on the disk\n"))
        status, _, err = run(self.directory / "b", "--node", str(NOBODY))
        self.assertEqual((status, err.count("\n")), (3, 1))
        self.assertIn("127.0.0.1:1 cannot be reached", err)
