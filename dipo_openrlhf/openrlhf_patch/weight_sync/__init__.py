"""Weights from the actor to the rollout engines, in buckets: a few calls a model, in place of one for each parameter."""
