"""Arrays in, numbers out: what a list was worth, and how sure that is. Knows no model."""
