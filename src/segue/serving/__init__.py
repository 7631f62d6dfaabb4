"""One request from top to bottom, and what happens when part of the house is on fire."""
