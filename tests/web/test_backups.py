"""/backup: what is sent, to clients that take it, take it slowly, or go away."""

import os
from pathlib import Path

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.clock import Clock
from tests.kv.backed_up import Snapshots, backups_of
from tests.storage.worker import HandWorker
from tests.web.test_slow_clients import TIMING, SlowTransport
from tests.web.wire import Response, Wire
from txraft.errors import NotApplied, SnapshotFailed
from txraft.kv import kept_backup
from txraft.kv.backups import MOST
from txraft.kv.data_snapshot import CHUNK_SIZE
from txraft.kv.kept_backup import KeptBackup
from txraft.web import outcomes
from txraft.web.turns import AT_ONCE


class BackupRouteTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.snapshots = Snapshots(directory, 3 * CHUNK_SIZE)
        clock, self.worker = Clock(), HandWorker()
        self.backups = backups_of(self.snapshots, clock, self.worker)
        self.transport = SlowTransport()
        self.wire = Wire(transport=self.transport, timing=TIMING, clock=clock, backups=self.backups)

    def content(self) -> bytes:
        """Of the file that was made last."""
        return max(self.snapshots.directory.glob("snapshot-*")).read_bytes()

    def taken(self) -> Response:
        """The answer, after the client has taken all of it."""
        received = b""
        while True:
            self.worker.work()
            self.wire.clock.pump([0, 0, 0])
            piece = self.transport.take()
            if not piece and not self.worker.waiting:
                break
            received += piece
        super(SlowTransport, self.transport).write(received)  # its producer has nothing to do with that
        return self.wire.response()

    def ask(self, target: str = "/backup", **headers: str) -> Response:
        self.wire.request("GET", target, b"", **headers)
        return self.taken()

    def begin(self) -> KeptBackup:
        """Ask for one, and see it made. The client has been sent the head, and the first piece is to be read."""
        self.wire.request("GET", "/backup")
        while not self.backups._kept:
            self.worker.work_once()
        (made,) = self.backups._kept
        return made

    def reads(self) -> int:
        """How many pieces the worker has still to read."""
        return sum(function is kept_backup._read for _, function, _ in self.worker.waiting)

    def test_whole(self) -> None:
        """The file, with its name, its length and its digest; behind it the connection is as it was, and is read."""
        answer = self.ask()
        self.assertEqual((answer.code, answer.body), (200, self.content()))
        self.assertEqual(self.wire.replica.barriers, 1)
        etag = answer.headers.pop("etag")
        self.assertEqual(len(etag), 66)
        answer.headers.pop("date")
        self.assertEqual(
            answer.headers,
            {
                "content-type": "application/vnd.sqlite3",
                "content-length": str(len(self.content())),
                "content-disposition": 'attachment; filename="txraft-5.backup"',
                "accept-ranges": "bytes",
                "cache-control": "no-store",
                "x-content-type-options": "nosniff",
            },
        )
        self.assertEqual((self.transport.producerState, self.wire.protocol.paused), ("producing", False))
        self.assertEqual(self.wire.get("/get?key=x").code, 404)

    def test_stale(self) -> None:
        """As this node has them."""
        self.assertEqual(self.ask("/backup?consistency=stale").code, 200)
        self.assertEqual(self.wire.replica.barriers, 0)

    def test_pipelined(self) -> None:
        """What is asked behind it is answered behind it, and then more is read."""
        self.wire.send(b"GET /backup HTTP/1.1\r\nHost: x\r\n\r\nGET /get?key=k HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(self.taken().body, self.content())
        self.assertEqual(self.wire.response().code, 404)
        self.assertEqual(self.transport.producerState, "producing")

    def test_last(self) -> None:
        """A client that asks to close has all of it first."""
        self.assertEqual(self.ask(Connection="close").body, self.content())
        self.assertTrue(self.transport.disconnecting)

    def test_rest(self) -> None:
        """The rest of the very file that the client has the beginning of, and nothing new is made for it."""
        etag = self.ask().headers["etag"]
        answer = self.ask(Range="bytes=1000-", If_Range=etag)
        size = len(self.content())
        self.assertEqual((answer.code, answer.body), (206, self.content()[1000:]))
        self.assertEqual(answer.headers["content-range"], f"bytes 1000-{size - 1}/{size}")
        self.assertEqual((answer.headers["etag"], self.snapshots.names()), (etag, {"snapshot-1"}))
        self.assertEqual(self.ask(Range="bytes=0-", If_Range=etag).code, 200)
        self.assertEqual(self.snapshots.names(), {"snapshot-1"})
        answer = self.ask(Range=f"bytes={size}-", If_Range=etag)
        self.assertEqual((answer.code, answer.headers["content-range"]), (416, f"bytes */{size}"))

    def test_heads(self) -> None:
        """Its head is like no other, and is not kept among those that are."""
        before = outcomes._head.cache_info()
        etag = self.ask().headers["etag"]
        self.ask(Range="bytes=1000-", If_Range=etag)
        self.assertEqual(outcomes._head.cache_info(), before)

    def test_never_mixed(self) -> None:
        """Where it does not say of which file, or of another, or of several parts, it is sent a whole one."""
        etag = self.ask().headers["etag"]
        for headers in (
            {"Range": "bytes=1000-"},
            {"Range": "bytes=1000-", "If_Range": '"%s"' % ("0" * 64)},
            {"Range": "bytes=1000-", "If_Range": f"W/{etag}"},
            {"Range": "bytes=1000-2000", "If_Range": etag},
            {"Range": "bytes=-5", "If_Range": etag},
            {"Range": "bytes=0-1,5-", "If_Range": etag},
            {"Range": "bytes=1000-", "If_Range": "Thu, 26 Nov 2026 09:16:49 GMT"},
            {"If_Range": etag},
        ):
            answer = self.ask(**headers)
            self.assertEqual((answer.code, answer.body), (200, self.content()), headers)

    def test_taken_slowly(self) -> None:
        """A piece is read when the one before has been taken, and no sooner (hazard N2); a client may take as long as
        that for each (hazard N6)."""
        self.wire.request("GET", "/backup")
        received = b""
        for _ in range(4):
            self.worker.work()
            self.wire.clock.pump([0, 0, 0])
            self.assertEqual(self.reads(), 0)
            self.assertLessEqual(len(self.transport.value()), CHUNK_SIZE + 1000)
            self.wire.clock.pump([1] * 29)
            self.assertFalse(self.transport.disconnected)
            received += self.transport.take()
        self.assertTrue(received.endswith(self.content()))

    def test_not_taken(self) -> None:
        """Who takes nothing is dropped, and the file is read no more (hazard N6)."""
        made = self.begin()
        self.worker.work()
        self.assertEqual(made.readers, 1)
        self.wire.clock.pump([1] * 31)
        self.assertTrue(self.transport.disconnected)
        self.wire.disconnect()
        self.assertEqual((made.readers, self.reads()), (0, 0))

    def test_read_slowly(self) -> None:
        """Who waits for this node's disk is not dropped for that, however long it takes."""
        self.begin()
        self.worker.work()
        self.transport.take()
        self.assertEqual(self.reads(), 1)
        self.wire.clock.pump([1] * 100)
        self.assertFalse(self.transport.disconnected)

    def test_held(self) -> None:
        """A piece that was not taken counts among what this node keeps for its clients (hazard N2)."""
        self.begin()
        self.assertEqual(self.wire.site._answers.total, 0)
        self.worker.work()
        self.assertEqual(self.wire.site._answers.total, CHUNK_SIZE)
        self.transport.take()
        self.assertEqual(self.wire.site._answers.total, 0)

    def test_waits_for_its_turn(self) -> None:
        """To send a piece takes long, and so it comes when other long jobs have left the reactor room (hazard N1)."""
        self.begin()
        self.transport.take()
        self.wire.site.long_jobs.run(AT_ONCE, lambda: None)
        self.worker.work()
        self.assertEqual(self.transport.value(), b"")
        self.wire.clock.pump([0, 0, 0])
        self.assertEqual(len(self.transport.value()), CHUNK_SIZE)

    def test_gone(self) -> None:
        """A client that goes while it is made, or while a piece is read, leaves one that nobody reads."""
        for steps in range(5):
            wire = Wire(transport=SlowTransport(), clock=self.wire.clock, backups=self.backups)
            wire.request("GET", "/backup")
            for _ in range(steps):
                self.worker.work_once()
            wire.disconnect()
            self.worker.work()
            self.assertEqual([each.readers for each in self.backups._kept], [0] * min(steps + 1, MOST))

    def test_cut_off(self) -> None:
        """One that cannot be read any further ends the connection: the client has less than it was promised."""
        self.backups.drop(self.begin())
        self.worker.work()
        self.transport.take()
        self.worker.work()
        self.assertTrue(self.transport.disconnected)

    def test_shortened(self) -> None:
        """So does a file that is shorter than it was, and nobody goes on to read at its end."""
        self.begin()
        os.truncate(self.snapshots.directory / "snapshot-1", CHUNK_SIZE)
        self.worker.work()
        self.transport.take()
        self.assertEqual(self.reads(), 1)
        with capturedLogs() as events:
            self.worker.work_once()
        self.assertTrue(self.transport.disconnected)
        self.assertIn("bytes are missing", str(formatEvent(events[-1])))

    def test_node_stops(self) -> None:
        """It does not wait for a client that takes a backup. A piece that comes afterwards leaves nothing behind."""
        self.begin()
        self.assertEqual(self.reads(), 1)
        stopped = self.wire.site.stop()
        self.assertTrue(self.transport.disconnected)
        self.wire.disconnect()
        self.successResultOf(stopped)
        self.backups.stop()
        self.worker.work()
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])

    def test_refused(self) -> None:
        """A full disk, no leader, a page of another site, another method: one line each."""
        self.snapshots.failure = SnapshotFailed("no room at /var/lib")
        answer = self.ask()
        self.assertEqual((answer.code, b"/var" in answer.body), (503, False))
        self.assertEqual(answer.headers["x-txraft-outcome"], "not-applied")
        self.wire.replica.failure = NotApplied("nobody leads")
        self.assertEqual(self.ask().code, 503)
        answer = self.ask(Origin="http://elsewhere")
        self.assertEqual(
            (answer.code, answer.body), (403, b"a page of 'http://elsewhere' may not ask for a backup here")
        )
        self.assertEqual(self.wire.ask("POST", "/backup").code, 405)
        self.assertEqual(self.ask("/backup?consistency=some").code, 400)
        self.assertEqual(Wire().get("/backup").code, 400)
