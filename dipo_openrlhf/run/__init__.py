"""`dipo train`: starts, supervises, restarts and ends a run, and its watcher."""
