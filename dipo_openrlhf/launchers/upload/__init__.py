"""What a Ray job takes along from the current folder."""
