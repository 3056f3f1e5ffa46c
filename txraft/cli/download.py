"""Fetches a backup from a node into a file beside the one that it is to be, and goes on with one that was cut off.

The unfinished file has the SHA-256 of the whole one in its name, and a node sends the rest of no other one. So what was
cut off, also by the end of this process, goes on while the node keeps the backup, which is ten minutes.
"""

import hashlib
import re
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from time import sleep

from attrs import define, frozen

from txraft.cli.progress import progress
from txraft.errors import BackupFailed, Unreachable
from txraft.settings import Address, one_line

CONNECT_TIMEOUT = 5.0
"""Seconds in which a node must take the connection; its kernel does, however busy the node is."""
MAKE_TIMEOUT = 1800.0
"""Seconds in which it must have made the file."""
READ_TIMEOUT = 60.0
"""Seconds in which it must send something of it."""
PIECE = 1 << 18
"""Bytes."""
TRIES = 5
"""Of one node, since it last sent something."""
PAUSE = 1.0
"""Seconds between two tries."""
SHOWN = 300
"""Characters of an answer that are shown."""

_ETAG = re.compile(r'"([0-9a-f]{64})"')
_RANGE = re.compile(r"bytes (?:([0-9]+)-[0-9]+|\*)/([0-9]+)")


@frozen
class Part:
    """An unfinished file, or one that has only to be checked and renamed."""

    path: Path
    digest: str
    """SHA-256 of all of it, in hex."""

    @classmethod
    def of(cls, target: Path, digest: str) -> "Part":
        """The one that becomes `target`."""
        return cls(target.with_name(f"{target.name}.{digest}.part"), digest)

    def require_whole(self) -> None:
        """Raises BackupFailed, with the file removed, where it is not what the node has."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file, progress("summing up", self.path.stat().st_size, "B") as report:
            while piece := file.read(PIECE):
                digest.update(piece)
                report(file.tell())
        if digest.hexdigest() != self.digest:
            self.path.unlink()
            raise BackupFailed("what came is not what the node has: its SHA-256 is another; take the backup again")


class _Cut(Exception):
    """The node did not send all; it may be asked again."""


class _TurnedDown(Exception):
    """The node will not, or is not there; another may be asked."""


@define
class Download:
    """Of one backup, to `target`."""

    target: Path
    addresses: Sequence[Address]

    def run(self) -> Part:
        """Get all of it. Blocks.

        Raises BackupFailed where no node gives one, or this disk takes none, and Unreachable where no node is there.
        What has come stays, for the next time."""
        said: list[str] = []
        is_there = False
        for address in self.addresses:
            try:
                return self._from(address)
            except _TurnedDown as error:
                is_there |= not isinstance(error.__cause__, OSError)
                said.append(f"{address} {error}")
            except OSError as error:
                raise BackupFailed(f"cannot write beside {self.target}: {error.strerror or error}") from error
        raise (BackupFailed if is_there else Unreachable)("; ".join(said) or "there are no nodes to ask")

    def _from(self, address: Address) -> Part:
        tries = 0
        while True:
            had = self._size()
            try:
                return self._ask(address)
            except _Cut as error:
                tries = 1 if self._size() > had else tries + 1
                if tries >= TRIES:
                    raise _TurnedDown(f"{error}, {TRIES} times; run this again to go on") from None
                sleep(PAUSE)

    def _begun(self) -> Part | None:
        for path in self.target.parent.glob("*.part"):
            name, digest = path.name.removeprefix(f"{self.target.name}."), path.name[-69:-5]
            if name == f"{digest}.part" and _ETAG.fullmatch(f'"{digest}"') and path.stat().st_size:
                return Part(path, digest)
        return None

    def _size(self) -> int:
        begun = self._begun()
        return 0 if begun is None else begun.path.stat().st_size

    def _ask(self, address: Address) -> Part:
        begun = self._begun()
        headers = {}
        if begun is not None:
            headers = {"Range": f"bytes={begun.path.stat().st_size}-", "If-Range": f'"{begun.digest}"'}
        connection = HTTPConnection(address.host, address.port, timeout=CONNECT_TIMEOUT)
        try:
            try:
                connection.connect()
            except OSError as error:
                if begun is not None:
                    raise _Cut("cannot be reached any more") from error
                raise _TurnedDown(f"cannot be reached: {one_line(str(error))}") from error
            try:
                sock = connection.sock  # which it lets go of when the answer will be the last
                sock.settimeout(MAKE_TIMEOUT)
                connection.request("GET", "/backup", headers=headers)
                response = connection.getresponse()
                sock.settimeout(READ_TIMEOUT)
            except (OSError, HTTPException) as error:
                raise _Cut(f"did not answer: {one_line(str(error)) or type(error).__name__}") from error
            return self._take(response, begun)
        finally:
            connection.close()

    def _take(self, response: HTTPResponse, begun: Part | None) -> Part:
        etag = _ETAG.fullmatch(response.getheader("ETag", ""))
        part = _RANGE.fullmatch(response.getheader("Content-Range", ""))
        match response.status:
            case 200 if etag and response.length is not None:
                if begun is not None:
                    begun.path.unlink()
                fresh = Part.of(self.target, etag[1])
                return self._write(response, fresh, 0, response.length)
            case 206 if etag and part and begun and begun.digest == etag[1] and part[1]:
                return self._write(response, begun, int(part[1]), int(part[2]))
            case 416 if part and begun:
                if begun.path.stat().st_size == int(part[2]):
                    return begun
                begun.path.unlink()
                raise _Cut("has another file")
        raise _TurnedDown(f"answered {response.status}: {_said_in(response) or 'nothing more'}")

    def _write(self, response: HTTPResponse, part: Part, offset: int, total: int) -> Part:
        if offset and offset != part.path.stat().st_size:
            raise _TurnedDown("sent another part than it was asked for")
        with part.path.open("ab") as file, progress("receiving", total, "B") as report:
            while offset < total:
                try:
                    piece = response.read1(PIECE)
                except (OSError, HTTPException) as error:
                    raise _Cut(f"stopped sending: {one_line(str(error)) or type(error).__name__}") from error
                if not piece:
                    raise _Cut(f"closed the connection after {offset:,} of {total:,} bytes")
                file.write(piece)
                offset += len(piece)
                report(offset)
        return part


def _said_in(response: HTTPResponse) -> str:
    try:
        text = response.read(4 * SHOWN).decode(errors="replace")
    except (OSError, HTTPException):
        return ""
    return one_line(" ".join(text.split()))[:SHOWN]
