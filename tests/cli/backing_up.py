"""A node that has a backup, and the command that asks it."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Event

from twisted.trial.unittest import SynchronousTestCase

from tests.cli import running
from tests.cli.serving import QuietHandler, serving
from tests.kv.backed_up import ORIGIN, data_file
from txraft.addresses import Address
from txraft.cli import download
from txraft.kv.backup import describe

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
                with suppress(ConnectionError):  # who asked may have gone
                    self.wfile.write(node.content[offset : node.cuts.pop(0) if node.cuts else None])

        with serving(Handler) as address:
            yield address


run = partial(running.run, "backup")
"""What `txraft backup` gives."""


class BackupTestCase(SynchronousTestCase):
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
