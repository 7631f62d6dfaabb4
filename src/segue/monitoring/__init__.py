"""What the house counts about itself."""
