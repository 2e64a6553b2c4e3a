"""From run folders to pages: where a run's data came from, what it is worth, what it looks like."""
