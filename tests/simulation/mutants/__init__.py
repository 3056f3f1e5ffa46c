"""Planted bugs: does the simulator find what it is there to find?

A mutant is a change of a few words of txraft's own text (`planting`), listed with the hazard whose rule it breaks
(`catalogue`). Text, and not a patched object, because the change is then what a programmer might have written, anywhere
in a function; it must occur exactly once, so that a mutant which the code has outgrown fails instead of hiding. Each is
looked for in a fresh interpreter, in which the program is compiled with it (`hunting`).

    python -m tests.simulation.mutants              # the table: each mutant, the seeds it took, the rule that caught it
    python -m tests.simulation.mutants vote-before-save

A mutant that survives shows what the simulator does not explore.
"""
