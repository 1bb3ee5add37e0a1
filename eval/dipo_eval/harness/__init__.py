"""Official graders and harnesses on the same generations: their scores beside ours, and where they differ.

Each has a module here and X_worker.py, which runs their code in a process of its own (dipo_eval.workers).

    base.py             what a harness and a second grader are
    registry.py         both by name: a new one is two files and a line there
    report.py           official_X.json in a results folder: scores and disagreements
    command.py          the tables of `dipo eval --with`
    lm_eval, evalplus   scores of a suite's samples
    bfcl_eval           scores of a suite's samples, and of one sample for `dipo grade --against`
    math_verify         scores of one sample for `dipo grade --against`
"""
