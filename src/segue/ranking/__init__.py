"""Rankers: one file each, all keep the promise of core.stages.Ranker."""
