"""`dipo check-gpu`: does a machine with GPUs train correctly? A short run of a small model, compared with a CPU."""
