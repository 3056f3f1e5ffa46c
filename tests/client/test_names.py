"""What `txraft.client` exports, with and without treq."""

import sys
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

import txraft.client


class NameTests(SynchronousTestCase):
    def test_names(self) -> None:
        """Each is there."""
        self.assertEqual(
            txraft.client.__all__,
            [
                *("ANY", "BlockingClient", "Cas", "Delete", "Get", "KeyInfo", "KeyValueClient", "Listing"),
                *("NodeStatus", "Set", "Value"),
            ],
        )
        for name in txraft.client.__all__:
            self.assertIsNotNone(getattr(txraft.client, name))
        with self.assertRaises(AttributeError):
            txraft.client.Nothing  # noqa: B018 - to ask for it is the test

    def test_without_treq(self) -> None:
        """The line says what to install. That nothing else needs it, `tests.rules.test_imports` sees."""
        with patch.dict(sys.modules):
            for name in ("treq", "treq.client"):
                sys.modules[name] = None  # type: ignore[assignment]  # as the documentation of import has it
            for name in ("asynchronous", "treq_transport"):
                sys.modules.pop(f"txraft.client.{name}", None)
            with self.assertRaises(ImportError) as caught:
                txraft.client.KeyValueClient  # noqa: B018 - the same
        self.assertEqual(str(caught.exception), "KeyValueClient wants the package treq: pip install 'txraft[client]'")
