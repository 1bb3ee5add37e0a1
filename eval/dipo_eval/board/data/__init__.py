"""What the page is made from, read with care: results, samples, other harnesses' scores, training logs."""
