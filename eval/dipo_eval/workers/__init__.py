"""Child processes that answer questions, each within a deadline: for code that may hang, crash or read hostile text.

    process.py   the parent's end: ``Worker`` starts one process from a ``Program`` and exchanges JSON lines with it
    pool.py      ``WorkerPool`` hands questions of any thread to at most N workers, and replaces those that hang or die
    server.py    the child's end: limits its memory and processor time, calls ``Program.load``, answers until end-of-file

Who starts what:

    grading/pool.py      grading/worker.py, in our Python: symbolic comparison, replay of tool calls
    grading/code         code_runner/judge.py, in evalplus's Python: runs programs in jails of its own
    harness/X.py         harness/X_worker.py, in our Python or evalplus's: a harness's own scores

Protocol: the child writes {"ready": true}, or false with "error" and "reason"; then for every line
{"number": n, "limit_s": seconds, "task": {...}} one line, {"number": n, "answer": {...}}; the answer may be only a
"reason" why there is none. Another number, a second line or anything else counts as the worker's death.
Deadlines: START_LIMIT_S until it is ready, WRITE_LIMIT_S for a task to be taken, ``limit_s`` for its answer. A worker
that is late is killed (WorkerTimeoutError), one that ended is WorkerDiedError. Workers end with their parent: they read
end-of-file however it died, and RLIMIT_CPU ends one that is in a long computation.
A child has almost nothing of its parent's environment. No signals, threads or multiprocessing are used, so a pool works
in any thread, in asyncio's, and in daemonic processes such as Ray's actors.
server.py imports the standard library alone: evalplus's environment has nothing else of ours.
"""
