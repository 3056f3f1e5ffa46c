"""Whole clusters under faults, on simulated time: `txraft.testing` with the seeds that txraft itself is held to."""
