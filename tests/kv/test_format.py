"""The format on disk: a file that an earlier txraft wrote, byte for byte, must load.

Where this fails, data that is on disks already would be refused, or misread: raise FORMAT with every change. A file of
another format is refused in one line. Nothing reads an older one yet.
"""

import zlib
from base64 import b64decode
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from txraft.kv.data_file import DataFile
from txraft.kv.records import numbers_of, value_of
from txraft.kv.tables import FORMAT

FILE_OF_FORMAT_4 = (
    "eNrt22l0E1UUB/A3kxlaSpupYluwQp+lSKsxVkDcoNKGoY0NDYTUUlHqNBloaJrUmUkrm9AWQRTRIqBWdmV1A1cQcWNxBxV3rQugIqBsgqxChqZi"
    "Y0U+KAc8/9+Zd+68e5P35rw5kw8zk/79bB5NpoP9Spmk0S4klrAs6UkpIcQQbDw5Qe9zf+ozYf3mGIjZxcToOzFbiVBt3BEMAAAAAAAA8J+qZg0R"
    "CYmJTM1ATSr2ylJ5udcju0OBszjETKdInZlZNpGGkjTV46bWPKeYLTpoX4e1T6ajkOaKhdSSI1pyj1d70PQ0E3V5A6omK0XBhFMc4KR59mDLt9lM"
    "1CupWlHjcI1DnSgrcoVH9fh9zZX8lUUuf8Cn/V2tRHaVqoEytZl6Y+0vpbSqWPb4IlRVNiyCT62UFTUUDE0XoSFJU32BsmJZaW4hTLRUHkazbPas"
    "U5ncFBqy6RfSRjIRCXFxTFXDaXFLmqQ3tsmx6Bma+sdkTQ7hJPMpssuvuMPmowVWZ44930kd9gJrryhhGuGiaolQbyw35kbVBncBAAAAAE6fBel8"
    "PL/O5pWUITIhuxYX9K4AgDNa8MLlUzgjnyERsr3t5G2dQ1czG4qNz5HZ6hR+bDSfQRjWwPEtIiJbRrWKjjEKseec2/q8uPiENm3PT7ygXfskemFy"
    "h5SOF3VKTbv4EtOl5svSL+/cpesV3a686uprru3eI+O6nplZll5i7+wc6/W5tj559r79HP2d+TcUDCi8ceBNNw8qukUqdrnlwUNKPENLvWU+f/mt"
    "iqoFKipvGzZ8xMhRt48eU1VdM/aOcePvnHDX3RPvmXTvfbWT758yddoDDz5U9/D0GTNnzZ4z95FH581fsHDR4scef+LJp5YsffqZZ597/oVly19c"
    "8dLKl1959bXXV61es/aNN996+51331u3/v0PPtzw0ceffPrZ5198+VX91998+93GTZu//+HHLT9t3bb951927Ny1e8+ve/f9tv/AwUOHj/x+lJAa"
    "unLf0dCqRIZF/cl69r/wW5rMRfPdCTmYPDEQynBhkYkR6gkr1BFhhVAXDAAAAAAAAABwWiUZeBLPmbUSj+I2W2Z2DL9lQijLkzacWZVdfp970IZJ"
    "m8NH0G8jdPiHWfR38xlhEwluAAAAAAAAAHD2SiSRJI5hGJ73BxS1ZWQLYtjSXppHyMZunUbrH8DrKwAAAAAAAAD/mz9o6CLCInMMxP9Xmg=="
)
"""zlib, base64."""


class GoldenTests(SynchronousTestCase):
    def test_loads(self) -> None:
        """After two batches. The second changed a value, removed a key, and dropped the oldest answer."""
        self.assertEqual(FORMAT, 4)
        path = Path(self.mktemp())
        path.write_bytes(zlib.decompress(b64decode(FILE_OF_FORMAT_4)))
        contents = DataFile(path, "ours").load()
        self.assertEqual((contents.last_applied, contents.revision), (9, 8))
        found = {key: (value_of(record), numbers_of(record)) for key, record in contents.records.items()}
        wanted = {
            b"a": (b"2", (2, 5, 2)),
            b"": (b"", (4, 4, 1)),
            b"large": (b"v" * 5000, (7, 7, 1)),
            bytes(range(256)): (b"\xff", (8, 8, 1)),
        }
        self.assertEqual(found, wanted)
        answers = contents.answers
        self.assertEqual((answers.first, len(answers)), (2, 2))
        kept = [answers.get(key) for key in (b"first", b"second", b"third")]
        self.assertEqual(kept, [None, bytes(16) + b"\1", bytes(range(16)) + b"\0"])
