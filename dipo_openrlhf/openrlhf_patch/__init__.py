"""Everything this project changes in OpenRLHF, and nothing else.

`OVERRIDES` (overrides.py) lists the overridden methods, `CHANGES` (cpu.py) the run-time changes that let the same
loop run without a GPU. `dipo doctor` prints both.
"""
