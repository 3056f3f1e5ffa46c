"""Measurements of real nodes: `python -m tests.bench --help`. What they print are figures of one machine at one time,
so compare only what one run measured.
"""
