"""Send a recipe to where it is to run: a Ray cluster, Slurm, Kubernetes, or this machine (docs/submit.md)."""
