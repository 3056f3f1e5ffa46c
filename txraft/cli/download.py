"""Fetches a backup from a node into a file, and goes on with one that was cut off while a node still has it.

A node is told the SHA-256 of what has begun, and sends the rest of no other file. The node that has it is asked first:
another one would begin anew.
"""

import re
from collections.abc import Sequence
from http.client import HTTPException, HTTPResponse
from time import sleep

from txraft.addresses import Address
from txraft.cli.asking import READ_OF_LINE, connect
from txraft.cli.part import Part, Whole
from txraft.cli.progress import progress, waiting
from txraft.client.http import OTHER_PORT, line_of
from txraft.errors import BackupFailed, Unreachable
from txraft.kv.data_snapshot import CHUNK_SIZE
from txraft.snapshot_writing import require_room

MAKE_TIMEOUT = 1800.0
"""Seconds in which a node must have made the file."""
READ_TIMEOUT = 60.0
"""Seconds in which it must send something of it."""
TRIES = 5
"""Of one node, since it last sent something."""
PAUSE = 1.0
"""Seconds between two tries."""

_ETAG = re.compile(r'"([0-9a-f]{64})"')
_RANGE = re.compile(r"bytes (?:([0-9]{1,18})-[0-9]+|\*)/([0-9]{1,18})")


class _Cut(Exception):
    """The node did not send all; it may be asked again."""


class _NotReached(_Cut):
    """The node is not there; where it was a moment ago, it may be again."""


class _NoAnswer(_Cut):
    """The node said nothing."""


class _TurnedDown(Exception):
    """The node will not; another may be asked."""


class _Absent(_TurnedDown):
    """It never was there."""


def download(part: Part, addresses: Sequence[Address]) -> None:
    """Get what is missing, from the first node that has it. Blocks.

    Raises BackupFailed where no node gives one, Unreachable where none is there, and OSError where this disk takes
    none. What has come stays."""
    has_it = part.whole.node if part.whole else ""
    said = []
    are_absent = True
    for address in sorted(addresses, key=lambda each: str(each) != has_it):
        try:
            _download_from(address, part)
            return
        except _TurnedDown as error:
            said.append(f"{address} {error}")
            are_absent &= isinstance(error, _Absent)
    why = ("; ".join(said) or "there are no nodes to ask") + part.advice
    raise Unreachable(why) if are_absent else BackupFailed(why)


def _download_from(address: Address, part: Part) -> None:
    tries = 0
    is_there = says_nothing = False
    while True:
        had = part.size
        try:
            _ask(address, part)
            return
        except _Cut as error:
            is_there |= not isinstance(error, _NotReached)
            if not is_there:
                raise _Absent(str(error)) from error
            says_nothing = isinstance(error, _NoAnswer) and (says_nothing or tries == 0)
            tries = 1 if part.size > had else tries + 1
            if tries >= TRIES:
                raise _TurnedDown(f"{error}, {TRIES} times{OTHER_PORT if says_nothing else ''}") from None
            sleep(PAUSE)


def _ask(address: Address, part: Part) -> None:
    headers = {}
    if part.whole is not None and part.size:
        headers = {"Range": f"bytes={part.size}-", "If-Range": f'"{part.whole.sha256}"'}
    try:
        connection = connect(address)
    except OSError as error:
        raise _NotReached(f"cannot be reached: {line_of(error)}") from error
    try:
        try:
            sock = connection.sock  # which it lets go of when the answer will be the last
            sock.settimeout(MAKE_TIMEOUT)
            with waiting(f"{address} makes the backup"):
                connection.request("GET", "/backup", headers=headers)
                response = connection.getresponse()
            sock.settimeout(READ_TIMEOUT)
        except (OSError, HTTPException) as error:
            raise _NoAnswer(f"did not answer: {line_of(error) or type(error).__name__}") from error
        _take(response, part, address)
    finally:
        connection.close()


def _take(response: HTTPResponse, part: Part, address: Address) -> None:
    etag = _ETAG.fullmatch(response.getheader("ETag", ""))
    rest = _RANGE.fullmatch(response.getheader("Content-Range", ""))
    match response.status:
        case 200 if etag and response.length is not None:
            part.begin(Whole(etag[1], response.length, str(address)))
            _write(response, part)
        case 206 if etag and rest and part.whole and (etag[1], rest[1]) == (part.whole.sha256, str(part.size)):
            _write(response, part)
        case 206:
            raise _TurnedDown("sent another part than it was asked for")
        case 416 if rest and part.whole:
            if int(rest[2]) != part.size:
                part.drop()
                raise _Cut("has another file")
        case status:
            raise _TurnedDown(f"answered {status}: {_said_in(response) or 'nothing more'}")


def _write(response: HTTPResponse, part: Part) -> None:
    assert part.whole is not None
    offset, total = part.size, part.whole.size
    require_room(part.path.parent, total - offset)
    with part.path.open("ab") as file, progress("receiving", total, "B") as report:
        while offset < total:
            try:
                piece = response.read1(CHUNK_SIZE)
            except (OSError, HTTPException) as error:
                raise _Cut(f"stopped sending: {line_of(error) or type(error).__name__}") from error
            if not piece:
                raise _Cut(f"closed the connection after {offset:,} of {total:,} bytes")
            file.write(piece)
            offset += len(piece)
            report(offset)


def _said_in(response: HTTPResponse) -> str:
    try:
        return line_of(response.read(READ_OF_LINE))
    except (OSError, HTTPException):
        return ""
