"""What the package says to the world."""

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

import txraft


class PublicTests(SynchronousTestCase):
    def test_names(self) -> None:
        """These, from where they are; nothing is added or taken away in passing."""
        self.assertEqual(
            {name: getattr(txraft, name).__module__ for name in txraft.__all__},
            {
                "BadCommand": "txraft.errors",
                "BlockingService": "txraft.blocking",
                "CommandFailed": "txraft.errors",
                "CoroutineResource": "txraft.coroutine_resource",
                "Counters": "txraft.recipes.counters",
                "Election": "txraft.recipes.election",
                "Held": "txraft.recipes.lock",
                "Home": "txraft.home",
                "Lock": "txraft.recipes.lock",
                "Locks": "txraft.recipes.locks",
                "LogLimits": "txraft.settings",
                "MemoryMachine": "txraft.memory_machine.adapter",
                "NotApplied": "txraft.errors",
                "ObjectService": "txraft.objects.service",
                "Options": "txraft.raft_service.options",
                "OutcomeUnknown": "txraft.errors",
                "Queue": "txraft.recipes.queue",
                "RaftService": "txraft.raft_service.service",
                "SizeLimits": "txraft.settings",
                "Table": "txraft.recipes.table",
                "Timing": "txraft.settings",
                "TxraftError": "txraft.errors",
                "command": "txraft.objects.commands",
                "newcomer": "txraft.raft_service.arguments",
                "run_on_monotonic_time": "txraft.monotonic",
            },
        )
        self.assertLessEqual({*txraft.__all__}, {*dir(txraft)})
        with self.assertRaises(AttributeError):
            txraft.nothing  # noqa: B018 - to look is what is tested

    def test_loaded_when_asked_for(self) -> None:
        """Who imports the core does not import Twisted."""
        program = "import sys, txraft.core.raft; print('twisted' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout, "False\n")
