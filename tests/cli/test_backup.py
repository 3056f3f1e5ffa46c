"""`txraft backup`, against servers on loopback that send what a node would, or something else."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from threading import Thread
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from tests.kv.backed_up import ORIGIN, data_file
from txraft.cli import download, main, progress
from txraft.cli.progress import progress as show
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
        self.says: tuple[int, bytes] | None = None
        """In place of all this."""

    @contextmanager
    def serving(self) -> Iterator[Address]:
        node = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = self.headers["Range"]
                node.ranges.append(asked)
                if node.says is not None:
                    self.send_response(node.says[0])
                    self.end_headers()
                    self.wfile.write(node.says[1])
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

            def log_message(self, *_: object) -> None:
                """Nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield Address("127.0.0.1", server.server_port)
            finally:
                server.shutdown()
                thread.join()


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

    def test_cut_off(self) -> None:
        """It goes on with what is missing, as often as something comes in between."""
        node = Node(self.content, cuts=[10_000, 10_000, 20_000, 20_001, 20_002, 20_003, 20_004])
        with node.serving() as address:
            self.assertEqual(run(self.target, "--node", str(address))[0], 0)
        self.assertEqual(node.ranges[:4], [None, "bytes=10000-", "bytes=10000-", "bytes=20000-"])
        self.assertEqual((self.target.read_bytes(), self.names()), (self.content, {"a.backup"}))

    def test_run_again(self) -> None:
        """What came stays where nothing more comes, and the next run goes on; also with one that came whole."""
        for come in (10_000, len(self.content)):
            node = Node(self.content, cuts=[come] * 5)
            part = self.directory / f"a.backup.{node.digest}.part"
            with node.serving() as address, patch("txraft.cli.backup.put_in_place", side_effect=KeyboardInterrupt):
                status, _, err = run(self.target, "--force", "--node", str(address))
            self.assertEqual(status, 1 if come == 10_000 else 130)
            self.assertEqual(part.stat().st_size, come)
            if come == 10_000:
                self.assertIn("closed the connection after 10,000 of", err)
            node.ranges.clear()
            with node.serving() as address:
                self.assertEqual(run(self.target, "--node", str(address), "--force")[0], 0)
            self.assertEqual(node.ranges, [f"bytes={come}-"])
            self.assertEqual((self.target.read_bytes(), self.names()), (self.content, {"a.backup"}))

    def test_another_file(self) -> None:
        """A node that does not keep it any more sends another, of which nothing is taken for the first."""
        part = self.directory / f"a.backup.{'0' * 64}.part"
        part.write_bytes(b"the beginning of another")
        with Node(self.content).serving() as address:
            self.assertEqual(run(self.target, "--node", str(address))[0], 0)
        self.assertEqual((self.target.read_bytes(), self.names()), (self.content, {"a.backup"}))

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
        unwilling.says = (503, b"no room\non the disk")
        with unwilling.serving() as first, Node(self.content).serving() as second:
            config = self.directory / "txraft.toml"
            config.write_text(
                "".join(
                    f'[[cluster]]\nid = {id}\naddress = "127.0.0.1:{id + 10}"\nkvaddr = "{address}"\n'
                    for id, address in enumerate((NOBODY, first, second))
                )
            )
            self.assertEqual(run(self.target, "--config", config)[0], 0)
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

    def test_elsewhere(self) -> None:
        """A line now and then, and none for what is soon done."""
        log = StringIO()
        with show("checking", 2000, " keys", log) as report:
            report(5)
            self.assertEqual(log.getvalue(), "")
            with patch.object(progress, "INTERVAL", 0):
                report(1500)
        self.assertEqual(log.getvalue(), "checking: 1,500 of 2,000 keys\n")
