"""Where a step's time goes: measured by the trainer, by each rank of the actor and by each engine (docs/metrics.md)."""
