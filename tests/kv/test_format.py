"""The format on disk: a file that an earlier txraft wrote, byte for byte, must load.

Where this fails, data that is on disks already would be refused, or misread: raise FORMAT with every change. A file of
another format is refused in one line. Nothing reads an older one yet.
"""

import zlib
from base64 import b64decode
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from txraft.kv.data_file import FORMAT, DataFile

FILE_OF_FORMAT_3 = (
    "eNrt2XdU00AcB/BLSS2jtCgCIqjnQEAREXGLQiFCpVAtQcSFoURECsUOEHEx3HuLe+Peew/ce+NWFCfiQBEntgqCivzt+H1eLuO+ucv7vZd3fySBHS"
    "WRGhb3UqqiGQ1ujMwQh4M8MEYIGegaiUpwfromiu4pjwFylhOm+sGCNCRM0e0AAAAAAAAAAIDSkiI4PCsbGyLFTsOEKVgmNlYRyYYXHQy8ZJQnTWHa"
    "UyShcFEndogMx+IAmvKhZLiDTOzvKQvBflQI9vKlvPy+pu7YxdEJyxVatYZVheo6aKozjQOkuhYkkThhBaPWhBZPVzxVSaxSxofKldoYze+y3qw8Sq"
    "2NVpeRF2e/RI6JBM/KwoJICvlaaDijYfSN80OJ+h7sEMUmYJFEKipdXTkzO+E4RqFlvw35/jgcLKZ9pUE0lkmDxd7GwoeINLFHwiwTNxN7vogvglcP"
    "AAAAAAD89/ikgCtgEMrJc8h0TeZzU/lcASI4BiS3As/QyNiEbyoQmlWsZF7ZwtKqinVVG9tq1WvgmrVq17Gra+/gWK++UwPnhi6NXBu7NWnarHmLlq"
    "1au7dp6+Ep8vKm2vn4itv7SfwDpB06ygLpoE7BnUO6dO3WvUdoTyZMHs72iugd2SdKER2jjO2rUmu0cfH9EvonDhg4aPCQpOSU1KHDho8YOWr0mLHj"
    "xk+YOGnylKnTps9Imzlr9py58+YvWLho8ZKl6cuWr1i5avWatevWb9i4afOWrdu279i5a/eevfv2HziYcejwkaPHjp84eer0mbPnzl+4eOnylcyr16"
    "7fuHnr9p27WffuZz94+Ojxk6c5z3Kfv3j5Ku/1m/y3Be/ef/j46XMhQgWW9P7CdEuuJXnaVsGoIlj/HXtj4gAAfwTdykWSJN+QrzuxLnNh0/+bJ4TZ"
    "SLcBAAAAAAAAAADgb2aNeMiCILhcpValNiIRxzXDnYdQhnluvj6G7yQAAAAAAAAAAMC/7QtmRQ6M"
)
"""zlib, base64."""


class GoldenTests(SynchronousTestCase):
    def test_loads(self) -> None:
        """After two batches, the second of which changed a value and removed a key."""
        self.assertEqual(FORMAT, 3)
        path = Path(self.mktemp())
        path.write_bytes(zlib.decompress(b64decode(FILE_OF_FORMAT_3)))
        values = {b"a": b"2", b"": b"", b"large": b"v" * 5000, bytes(range(256)): b"\xff"}
        self.assertEqual(DataFile(path, "ours").load(), (9, values))
