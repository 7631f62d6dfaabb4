"""Vectors of items, a set for each encoder version, and their nearest neighbours: a file per backend."""
