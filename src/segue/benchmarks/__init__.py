"""Benchmarks: one file = one command, arguments in, figures out."""
