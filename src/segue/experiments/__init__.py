"""Live experiments: who gets which arm, what was found and how sure that is, and when to go forward or back."""
