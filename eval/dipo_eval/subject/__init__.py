"""What is evaluated: a checkpoint or a served model, its identity and its files."""
