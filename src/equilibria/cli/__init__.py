"""The command line. Nothing heavy is imported before a command needs it, so that ``equilibria --help`` answers at once."""

from equilibria.cli.app import main

__all__ = ["main"]
