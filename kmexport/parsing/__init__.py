"""One stream → records."""
