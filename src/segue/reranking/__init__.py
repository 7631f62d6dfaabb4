"""The only stage that arranges and chooses."""
