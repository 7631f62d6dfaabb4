"""The nouns and the promises that every room shares."""
