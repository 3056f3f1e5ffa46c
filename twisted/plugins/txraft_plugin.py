"""Makes `twistd txraft` known to Twisted. Nothing else belongs here: every `twistd` imports it."""

from twisted.application.service import ServiceMaker

txraft = ServiceMaker("txraft", "txraft.cli.twistd", "A node of a replicated, linearizable key-value store.", "txraft")
