"""Files: read within bounds, YAML with line numbers, leases."""
