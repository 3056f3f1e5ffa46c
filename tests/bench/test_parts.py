"""What of the measurements needs neither processes nor wrk."""

from twisted.trial.unittest import SynchronousTestCase

from tests.bench.fill import MOST_BYTES, in_chunks
from tests.bench.load import MOST_DATA, Summary, keys_for, received

OUTPUT = """\
Running 1s test @ http://127.0.0.1:24522
  1 threads and 16 connections
  115 requests in 1.12s, 58.40KB read
Requests/sec:    102.77
Transfer/sec:     52.19KB
latency 50 1500
latency 99 20500
latency 99.9 162310
cpu 60000
"""

LISTING = """\
0 0 127.0.0.1:25020 127.0.0.1:53810
\t cubic rto:204 bytes_sent:1102 bytes_retrans:2 bytes_acked:1100 bytes_received:730 segs_out:9
0 0 127.0.0.1:53810 127.0.0.1:25020
\t cubic rto:204 bytes_sent:730 bytes_acked:731 bytes_received:1100 segs_out:9
0 0 127.0.0.1:53812 127.0.0.1:25021
\t cubic rto:204 segs_out:1
"""


class SummaryTests(SynchronousTestCase):
    def test_figures(self) -> None:
        """Of wrk itself, and of the scripts."""
        self.assertEqual(Summary.read(OUTPUT), Summary(102.77, 115, 1.5, 20.5, 162.31, cpu=0.06, failed=False))

    def test_requests_that_failed(self) -> None:
        """A run says nothing where some were refused, or their connections broke."""
        for words in ("  Non-2xx or 3xx responses: 1\n", "  Socket errors: connect 0, read 1, write 0, timeout 0\n"):
            self.assertTrue(Summary.read(OUTPUT + words).failed, words)


class ReceivedTests(SynchronousTestCase):
    def test_both_ways(self) -> None:
        """Each byte counts once, though both ends of a connection are listed."""
        self.assertEqual(received(LISTING), 730 + 1100)


class FillTests(SynchronousTestCase):
    def test_every_key_once(self) -> None:
        """The last request has what is left."""
        self.assertEqual(list(in_chunks(25, 1, 10)), [range(1, 11), range(11, 21), range(21, 26)])

    def test_large_values(self) -> None:
        """A request is bounded in bytes, but has one key at least."""
        self.assertEqual({len(chunk) for chunk in in_chunks(8, MOST_BYTES // 4, 1000)}, {4})
        self.assertEqual({len(chunk) for chunk in in_chunks(8, MOST_BYTES * 2, 1000)}, {1})

    def test_fewer_keys_of_large_values(self) -> None:
        """So that all of them together fit into memory."""
        self.assertEqual((keys_for(255), keys_for(1024 * 1024), keys_for(2 * MOST_DATA)), (10_000, 32, 1))
