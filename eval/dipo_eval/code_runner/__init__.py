"""What runs in evalplus's own environment: nothing here imports the rest of dipo_eval or anything it needs."""
