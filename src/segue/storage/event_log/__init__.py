"""The durable truth: every event and every slate shown, a file per backend."""
