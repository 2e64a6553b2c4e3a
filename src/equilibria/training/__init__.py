"""Training: the loop that plays rounds over data, and the crash-safe run folder it writes."""
