"""`txraft backup`, against servers on loopback that send what a node would, or something else."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from http.client import HTTPConnection
from io import StringIO
from pathlib import Path
from threading import Event
from time import time
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.serving import QuietHandler, serving
from tests.kv.backed_up import ORIGIN, data_file
from txraft.cli import download, main, progress
from txraft.cli.asking import connect
from txraft.cli.part import RECENT
from txraft.cli.progress import progress as show
from txraft.cli.progress import waiting
from txraft.kv.backup import describe, read_backup
from txraft.settings import Address

NOBODY = Address("127.0.0.1", 1)


class Node:
    """Serves `content` at /backup, as a node does. The first answers end after as many bytes of it as `cuts` says."""

    def __init__(self, content: bytes, cuts: Sequence[int] = ()) -> None:
        self.content = content
        self.digest = hashlib.sha256(content).hexdigest()
        self.cuts = list(cuts)
        self.ranges: list[str | None] = []
        """What was asked for."""
        self.says: tuple[int, bytes, dict[str, str]] | None = None
        """In place of all this."""
        self.may_answer = Event()
        self.may_answer.set()

    @contextmanager
    def serving(self) -> Iterator[Address]:
        node = self

        class Handler(QuietHandler):
            def do_GET(self) -> None:
                node.may_answer.wait()
                asked = self.headers["Range"]
                node.ranges.append(asked)
                if node.says is not None:
                    status, body, headers = node.says
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(body)
                    return
                size = len(node.content)
                is_rest = self.headers["If-Range"] == f'"{node.digest}"'
                offset = int(asked.removeprefix("bytes=").removesuffix("-")) if is_rest else 0
                self.send_response(416 if offset >= size else 206 if is_rest else 200)
                self.send_header("ETag", f'"{node.digest}"')
                if offset >= size:
                    self.send_header("Content-Range", f"bytes */{size}")
                elif is_rest:
                    self.send_header("Content-Range", f"bytes {offset}-{size - 1}/{size}")
                self.send_header("Content-Length", str(max(0, size - offset)))
                self.end_headers()
                self.wfile.write(node.content[offset : node.cuts.pop(0) if node.cuts else None])

        with serving(Handler) as address:
            yield address


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit status, stdout and stderr."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        status = main(["backup", *map(str, arguments)])
    return status, out.getvalue(), err.getvalue()


class BackupTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.target = self.directory / "a.backup"
        made = Path(self.mktemp())
        data_file(made, 100_000)
        describe(made, ORIGIN)
        self.content = made.read_bytes()
        self.patch(download, "PAUSE", 0.0)

        self.part = self.directory / "a.backup.txraft-part"
        self.config = self.directory / "txraft.toml"

    def other_content(self) -> bytes:
        """Of another backup."""
        made = Path(self.mktemp())
        data_file(made, 90_000)
        describe(made, ORIGIN)
        return made.read_bytes()

    def write_config(self, *addresses: Address) -> None:
        """Of nodes that are to be asked at these."""
        self.config.write_text(
            "".join(
                f'[[cluster]]\nid = {id}\naddress = "127.0.0.1:{id + 10}"\nkvaddr = "{address}"\n'
                for id, address in enumerate(addresses)
            )
        )

    def names(self) -> set[str]:
        return {path.name for path in self.directory.iterdir()}

    def test_taken(self) -> None:
        """The file has its name when it is whole, and a line says what it is of."""
        with Node(self.content).serving() as address:
            status, out, err = run(self.target, "--node", str(address))
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(
            out,
            f'{self.target}: cluster "ours" up to entry 5, revision 1, 1 keys, made by node 1 at 2026-11-26T12:00:00,'
            f" {len(self.content):,} bytes\n",
        )
        self.assertEqual((self.target.read_bytes(), self.names()), (self.content, {"a.backup"}))

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
        self.assertEqual((status, sleep.call_count, self.part.stat().st_size), (1, 0, 10_000))
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

    def test_two_at_once(self) -> None:
        """The second is told in a line, and the first goes on as if there were none."""
        told: list[tuple[int, str, str]] = []

        def take_another(*arguments: Any) -> None:
            told.append(run(self.target, "--node", str(address)))
            download.download(*arguments)

        with Node(self.content).serving() as address, patch("txraft.cli.backup.download", take_another):
            self.assertEqual(run(self.target, "--node", str(address))[0], 0)
        self.assertEqual(
            told,
            [
                (
                    1,
                    "",
                    f"txraft: another `txraft backup` is writing {self.target}: wait for it, or give another name\n",
                )
            ],
        )
        self.assertEqual((self.target.read_bytes(), self.names()), (self.content, {"a.backup"}))

    def test_disk_fails(self) -> None:
        """Whatever this disk refuses is said in one line, and nothing else comes out of the command."""
        full = OSError(28, "No space left on device")
        with Node(self.content).serving() as address:
            for owner, name in (
                ("fcntl", "flock"),
                ("pathlib.Path", "stat"),
                ("pathlib.Path", "open"),
                ("txraft.cli.part", "Part._note"),
                ("txraft.cli.part", "hashlib.sha256"),
                ("os", "fsync"),
                ("os", "replace"),
            ):
                with patch(f"{owner}.{name}", side_effect=full):
                    status, out, err = run(self.target, "--node", str(address))
                self.assertEqual((status, out, err.count("\n")), (1, "", 1), name)
                self.assertIn("No space left on device", err)
                self.assertFalse(self.target.exists(), name)
            for impossible in (self.directory, self.directory / ("x" * 300), "/", ".", self.directory / "x" / ".."):
                status, out, err = run(impossible, "--force", "--node", str(address))
                self.assertEqual((status, out, err.count("\n")), (1, "", 1), impossible)
            self.assertEqual(run(self.target, "--node", str(address))[0], 0)

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

    def test_damaged(self) -> None:
        """What came is not what was sent, or is no backup: it is removed."""
        node = Node(self.content)
        node.digest = "1" * 64
        for wrong in (node, Node(b"no database" * 1000)):
            with wrong.serving() as address:
                status, _, err = run(self.target, "--node", str(address))
            self.assertEqual((status, err.count("\n"), self.names()), (1, 1, set()), err)

    def test_not_overwritten(self) -> None:
        """A file that is there stays, unless it is said."""
        self.target.write_bytes(b"precious")
        with Node(self.content).serving() as address:
            status, _, err = run(self.target, "--node", str(address))
            self.assertEqual((status, self.target.read_bytes()), (1, b"precious"))
            self.assertIn("--force", err)
            self.assertEqual(run(self.target, "--force", "--node", str(address))[0], 0)
        self.assertEqual(read_backup(self.target).origin, ORIGIN)

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
        self.assertEqual((status, err.count("\n")), (1, 1))
        self.assertIn("127.0.0.1:1 cannot be reached", err)

    def test_usage(self) -> None:
        """What cannot be meant is refused."""
        self.assertEqual(run()[0], 2)
        self.assertEqual(run("a", "b")[0], 2)
        self.assertEqual(run("a", "--node", "")[0], 2)
        self.assertEqual(run("a", "--node", "a:1", "--config", "c")[0], 2)
        self.assertEqual(run("a", "--node", "a")[0], 1)
        self.assertEqual(run(self.directory / "no" / "a", "--node", str(NOBODY))[0], 1)


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


class ProgressTests(SynchronousTestCase):
    def test_terminal(self) -> None:
        """A bar that moves, and is gone afterwards."""
        terminal = Terminal()
        with show("receiving", 1000, "B", terminal) as report:
            report(500)
        self.assertIn("receiving", terminal.getvalue())

    def test_no_total(self) -> None:
        """Where nobody knows how much there is, what has been done is shown."""
        log, terminal = StringIO(), Terminal()
        for stream in (log, terminal):
            with show("checking", None, "B", stream) as report, patch.object(progress, "INTERVAL", 0):
                report(1500)
        self.assertEqual(log.getvalue(), "checking: 1,500 B\n")
        self.assertIn("checking", terminal.getvalue())

    def test_waiting(self) -> None:
        """What does not say how far it is shows for how long it has been waited for: at once on a terminal, after a
        while elsewhere."""
        for stream, name, shown in (
            (Terminal(), "TICK", "making: 00:00"),
            (StringIO(), "INTERVAL", "making: for 0 s\n"),
        ):
            told = Event()
            write = stream.write

            def tell(text: str, told: Event = told, write: Any = write) -> int:
                told.set()
                return int(write(text))

            with patch.object(progress, name, 0.001), patch.object(stream, "write", tell), waiting("making", stream):
                self.assertTrue(told.wait(60))
            self.assertIn(shown, stream.getvalue())
        log = StringIO()
        with waiting("making", log):
            pass
        self.assertEqual(log.getvalue(), "")

    def test_elsewhere(self) -> None:
        """A line now and then, and none for what is soon done."""
        log = StringIO()
        with show("checking", 2000, " keys", log) as report:
            report(5)
            self.assertEqual(log.getvalue(), "")
            with patch.object(progress, "INTERVAL", 0):
                report(1500)
        self.assertEqual(log.getvalue(), "checking: 1,500 of 2,000 keys\n")
