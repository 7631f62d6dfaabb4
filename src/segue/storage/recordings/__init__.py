"""Backends of core.ports.Recordings."""
