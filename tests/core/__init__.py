"""Tests of the pure core, after the paper. `cluster` has the small world that scenarios play in."""
