"""What only tests and experiments use; not part of the installed package."""
