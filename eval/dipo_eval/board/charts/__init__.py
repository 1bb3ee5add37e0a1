"""Charts as inline SVG: accuracy over training, a run's curves, and the interval beside an accuracy."""
