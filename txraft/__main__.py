"""`python -m txraft` is `txraft`."""

import sys

from txraft.cli import main

sys.exit(main())
