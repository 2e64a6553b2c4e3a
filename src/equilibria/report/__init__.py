"""From run folders to a page: what a run is worth, what it looks like, how to make it again."""
