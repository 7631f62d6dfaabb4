"""What a ranker sees of a candidate: one function, by night and by day."""
