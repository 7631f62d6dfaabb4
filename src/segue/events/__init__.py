"""A line from outside becomes an event: schema, checks, coarsening, ingest and importers."""
