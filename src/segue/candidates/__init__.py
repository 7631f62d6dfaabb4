"""Sources of candidates: one file or folder = one source, how it learns and how it answers."""
