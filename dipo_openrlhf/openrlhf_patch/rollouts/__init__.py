"""How samples are generated, collected, refilled and handed over."""
