"""Rules that remove: each a function (query, candidates) -> mask."""
