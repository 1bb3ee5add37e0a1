"""What a run writes and reads back: events, metrics, checkpoints, the prompts' hash, its processes."""
