"""Run and grade hostile programs. Runs in evalplus's own environment: nothing here imports the rest of dipo_eval.

A worker (dipo_eval.workers) serves ``judge.load``. From the question to the verdict:

    judge.py       holds problems and expected results; asks the zygote, then has the comparison made
    problems.py    evalplus's data sets and the results of its reference solutions, kept on disk
    zygote.py      a process without data that forks the jails of solutions
    record.py      in the first jail: runs a solution by evalplus's runner, writes down its results as frames of wire.py
    compare.py     in the second jail: compares these with what is expected; one number leaves it
    wire.py        values as plain data: a closed set of types

The jail:

    jail.py        supervisor, first process and inmate; deadline, limits, user, the end of all of it
    isolation.py   its walls: namespaces, or Landlock where they are forbidden
    seccomp.py     the filter of system calls, behind any walls
    cgroup.py      a limit on the memory of an entire jail, where it can be had
    walls.py       tries every limit from inside and chooses the walls
    kernel.py      the Linux calls that Python lacks
"""
