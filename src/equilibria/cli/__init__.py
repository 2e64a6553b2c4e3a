"""The command line: :mod:`~equilibria.cli.app`; options are made in :mod:`~equilibria.cli.options`.

Nothing heavy is imported before a command needs it, so ``--help`` is quick.
"""
