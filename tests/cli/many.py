"""Runs one command many times in one process of its own: flags of two commands cannot be in the same one.

    python many.py tfpdu.cli.unlearn < argument_lists.json > results.json

Each result is [exit code, stdout, stderr].
"""

import contextlib
import importlib
import io
import json
import sys

from absl import flags


def outcome(module, arguments):
    """Of the command with these arguments."""
    flags.FLAGS.unparse_flags()
    for name in [name for name in flags.FLAGS if name.startswith("config.")]:  # made by overrides
        delattr(flags.FLAGS, name)
    for flag in flags.FLAGS.get_flags_for_module(module):
        flag.unparse()
    sys.argv = [module.__name__, *arguments]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            module.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    return [code, out.getvalue(), err.getvalue()]


if __name__ == "__main__":
    command = importlib.import_module(sys.argv[1])
    json.dump([outcome(command, arguments) for arguments in json.load(sys.stdin)], sys.stdout)
