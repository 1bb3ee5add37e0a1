"""`dipo watch`: evaluate checkpoints as they appear. Knows nothing of training but the marker files it leaves.

`marker` is that interface, `lease` keeps two watchers apart, `backlog` says what is next, `child` runs one evaluation
in a process of its own, `record` remembers what came out, `best` marks the best, `loop` is the watcher.
"""
