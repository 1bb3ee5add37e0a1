"""`dipo watch`: evaluate checkpoints as they appear. Knows nothing of training but its marker files (subject.marker).

`plan` is what every checkpoint is measured on, `backlog` which come next and how often each was tried, `child` one
evaluation in its own process, `best` the choice of the best, `report` and `tracking` the output, `loop` the watcher.
"""
