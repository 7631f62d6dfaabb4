"""Names and facts of items and users: where they are kept, and the columns that every request reads."""
