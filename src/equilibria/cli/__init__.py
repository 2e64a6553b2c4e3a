"""The command line. Nothing heavy is imported before a command needs it: ``--help`` is quick."""

from equilibria.cli.app import main

__all__ = ["main"]
