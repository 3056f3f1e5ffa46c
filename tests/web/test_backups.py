"""/backup: what is sent, to clients that take it, take it slowly, or go away."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.clock import Clock
from tests.kv.backed_up import Snapshots, backups_of
from tests.storage.worker import HandWorker
from tests.web.test_slow_clients import TIMING, SlowTransport
from tests.web.wire import Response, Wire
from txraft.errors import NotApplied, SnapshotFailed
from txraft.kv.data_snapshot import CHUNK_SIZE


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
        return max(self.snapshots.directory.iterdir()).read_bytes()

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

    def test_whole(self) -> None:
        """The file, with its name, its length and its digest; behind it the connection is as it was."""
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
        """What is asked behind it is answered behind it."""
        self.wire.send(b"GET /backup HTTP/1.1\r\nHost: x\r\n\r\nGET /get?key=k HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(self.taken().body, self.content())
        self.assertEqual(self.wire.response().code, 404)

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
            self.assertEqual(self.worker.waiting, [])
            self.assertLessEqual(len(self.transport.value()), CHUNK_SIZE + 1000)
            self.wire.clock.pump([1] * 29)
            self.assertFalse(self.transport.disconnected)
            received += self.transport.take()
        self.assertTrue(received.endswith(self.content()))

    def test_not_taken(self) -> None:
        """Who takes nothing is dropped, and the file is read no more (hazard N6)."""
        self.wire.request("GET", "/backup")
        self.worker.work()
        (made,) = self.backups._kept
        self.assertEqual(made.readers, 1)
        self.wire.clock.pump([1] * 31)
        self.assertTrue(self.transport.disconnected)
        self.wire.disconnect()
        self.assertEqual((made.readers, self.worker.waiting), (0, []))

    def test_gone(self) -> None:
        """A client that goes while it is made, or while a piece is read, leaves one that nobody reads."""
        for steps in (0, 1):
            wire = Wire(transport=SlowTransport(), clock=self.wire.clock, backups=self.backups)
            wire.request("GET", "/backup")
            for _ in range(steps):
                self.worker.work_once()
            wire.disconnect()
            self.worker.work()
            self.assertEqual([each.readers for each in self.backups._kept], [0] * (steps + 1))

    def test_cut_off(self) -> None:
        """One that cannot be read any further ends the connection: the client has less than it was promised."""
        self.wire.request("GET", "/backup")
        self.worker.work_once()
        (made,) = self.backups._kept
        self.backups.drop(made)
        self.worker.work()
        self.transport.take()
        self.worker.work()
        self.assertTrue(self.transport.disconnected)

    def test_node_stops(self) -> None:
        """It does not wait for a client that takes a backup."""
        self.wire.request("GET", "/backup")
        self.worker.work()
        stopped = self.wire.site.stop()
        self.assertTrue(self.transport.disconnected)
        self.wire.disconnect()
        self.successResultOf(stopped)

    def test_refused(self) -> None:
        """A full disk, no leader, a page of another site, another method: one line each."""
        self.snapshots.failure = SnapshotFailed("no room on the disk")
        answer = self.ask()
        self.assertEqual((answer.code, answer.body), (503, b"no room on the disk"))
        self.assertEqual(answer.headers["x-txraft-outcome"], "not-applied")
        self.wire.replica.failure = NotApplied("nobody leads")
        self.assertEqual(self.ask().code, 503)
        self.assertEqual(self.ask(Origin="http://elsewhere").code, 403)
        self.assertEqual(self.wire.ask("POST", "/backup").code, 405)
        self.assertEqual(self.ask("/backup?consistency=some").code, 400)
        self.assertEqual(Wire().get("/backup").code, 400)
