"""The night: the log becomes a history, the history becomes models, and the better ones are promoted."""
