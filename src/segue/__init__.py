"""Segue: the recommender that a streaming service owns."""

__version__ = "0.1.0"
