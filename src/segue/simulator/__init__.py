"""A town of songs and listeners that knows no model: the demo's history, and listeners who react to slates."""
