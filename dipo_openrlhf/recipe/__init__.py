"""A recipe: one YAML file, its typed sections, OpenRLHF's arguments, checks and placement."""
