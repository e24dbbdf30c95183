"""What follows a decision: cases, freezes, notices, labels. Pure but for `adapters/`."""
