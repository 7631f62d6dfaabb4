"""Segue in a simulated world: as a policy among plain ones, and for weeks under its own experiments and alarms."""
