"""`/backup`: what of a backup a client is sent. A client who was cut off says which file it has the beginning of, and
is sent the rest of that one, or the whole of another: two files never mix (RFC 9110 §13.1.5, §14)."""

from txraft.kv.kept_backup import KeptBackup
from txraft.web.outcomes import Answer, StreamedAnswer

SQLITE = b"application/vnd.sqlite3"


def of_backup(backup: KeptBackup, offset: int = 0) -> Answer | StreamedAnswer:
    """The answer that has it, from its byte `offset` on."""
    size = backup.size
    if offset >= size:
        return Answer(416, b"the file has no more than that", ((b"Content-Range", b"bytes */%d" % size),))
    headers = [
        (b"ETag", b'"%b"' % backup.digest.encode()),
        (b"Accept-Ranges", b"bytes"),
        (b"Content-Disposition", b'attachment; filename="txraft-%d.backup"' % backup.index),
    ]
    if offset:
        headers.append((b"Content-Range", b"bytes %d-%d/%d" % (offset, size - 1, size)))
    return StreamedAnswer(206 if offset else 200, tuple(headers), SQLITE, size - offset, backup.read_from(offset))
