"""Backends of the port OnlineState: what serving knows of the present, folded from the log."""
