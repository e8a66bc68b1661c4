"""What matches are worth against each kind of truth."""
