"""The format on disk: a file that an earlier txraft wrote, byte for byte, must load.

Where this fails, the next release would refuse everyone's data: raise FORMAT, and read the old one too.
"""

import zlib
from base64 import b64decode
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from txraft.kv.data_file import FORMAT, DataFile

FILE_OF_FORMAT_2 = (
    "eNrt2WdQE0EUAOC95EI9ElSKCupaAY2IIBYUhUCESEIgBDE2PCAUCT2AiI1i772LHXvDigVR7IpdsWDBjqgoolgxQRAr40/L++b2dva9e3fzZm"
    "72x52XpzBEKceBEdFhtBLbIH3EYCAHjBFCTNUgUTXGd2uiMlYTJrL0J/TUF7IzECdFdQIAAAAAAAAAAH5PkoihaWxiQiRHKWk/hZyOjFSEyAMq"
    "J6aThO8o5WOpI0/Ix5VBbB4SgAXuUr4LX4I9JAKRo0SG3fgy7OTKd3KryNpjKwsuVtAxSt+qoqoCd7EUu3sLhVwcHRHv6x8RG678VS5Y7h8aEx"
    "sW85N8Ve6HlEUioWlsaEgkySraCaCVtHowvmlEHcHmofIEzBOKeV/3UMOduTiOVsTKP5d8eRz2EUhdxd5SLBH7CJx1OAWI1DVDnGJdM8qW4lE8"
    "eMEAAAAAAMB/L5lipVIsNiIYTJKloamlraNL6bE5+rVq1zEwNDKuW6++iWmDho1w4yZNmzVvYWZu0bIVt7VlG6u21jbtbNt36NjJrnMX+67dHB"
    "x5Ts787i6ugh5uQpG72MNT4iX17unTS9a7T99+/X0H0H7+AfLAoOCQgaGKsPCIyKjoGGVsXPyghMGJQ4YOGz4iKTkldeSo0WPGjhs/YeKkyVOm"
    "Tps+Y+as2XPmzpu/YOGitMVLli5bvmJl+qrVa9auW79h46bNWzK2btu+Y+euzN179u7L2p994GDOocNHjh47fuLkqdzTZ86eO3/h4qXLeVeuXr"
    "uef+PmrdsFd+7eu//g4aPCx0VPnj4rfv6i5GXpq9dlb96+e//hYzlCZUbS7HKKZLPYNEJFJeZ51ulGLCMy11RBRwfJRZlZ4XEAgD+CauciOaWI"
    "Xb2RkSSlRalm3cq1+t88wSlEqgMAAAAAAAAAAAB/PQOkgQiCxdImEcM6x14ToXyvNDt1Br6TAAAAAAAAAAAA/7ZPnlQFKA=="
)
"""zlib, base64."""


class GoldenTests(SynchronousTestCase):
    def test_loads(self) -> None:
        """After two batches, the second of which changed a value and removed a key."""
        self.assertEqual(FORMAT, 2)
        path = Path(self.mktemp())
        path.write_bytes(zlib.decompress(b64decode(FILE_OF_FORMAT_2)))
        values = {b"a": b"2", b"": b"", b"large": b"v" * 5000, bytes(range(256)): b"\xff"}
        self.assertEqual(DataFile(path).load(), (9, values))
