"""Files and processes: atomic writes, bounded reads, YAML with line numbers, a run's log of steps, leases."""
