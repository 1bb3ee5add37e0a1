"""Whether what a run needs is still alive, and its weights finite."""
