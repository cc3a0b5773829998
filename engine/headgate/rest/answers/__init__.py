"""Bodies and answers that several routes share, or that are long."""
