"""The command line: arguments in, calls of the Python API, facts out. It holds no logic of its own.

`specs` has the commands that read a spec, `runs` those that make or read a run, `language` those about dgmppl itself;
help lists them in the order of their modules.

Exit codes: 0 done, 1 a run failed, 2 the input is wrong.
"""

from dgmppl.cli import specs, runs, language  # noqa: I001
from dgmppl.cli.app import app, main

__all__ = ["app", "language", "main", "runs", "specs"]
