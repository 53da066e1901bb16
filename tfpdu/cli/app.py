"""What all commands share: the --config flag, presets, exit codes, one-line errors.

Exit 0: done. 2: the user's input is at fault, one line says what. 1: our fault, or the machine's (a full disk).
3: a gate that the user set fired (`--fail_if`). 130 and 143: stopped by Ctrl-C and SIGTERM at a safe
point.
"""

import errno
import functools
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from tfpdu.common.errors import StopRequested, UserError
from tfpdu.common.gate import FIRED
from tfpdu.common.interrupt import deferred
from tfpdu.common.validation import did_you_mean

DEFAULT_PRESET = "digits"
_default = [DEFAULT_PRESET]  # of the command that this process is


def define_config(default: str = DEFAULT_PRESET) -> flags.FlagHolder[ConfigDict]:
    """Defines `--config` (a preset such as cifar10:cpu, or a file) and its `--config.a.b=value` overrides."""
    _default[:] = [default]
    return config_flags.DEFINE_config_file(
        "config",
        help_string="a preset (digits, cifar10:cpu, celeb_a:cpu, ...) or the path of a config file;"
        " change a value with --config.a.b=value",
    )


def resolve_preset(name: str) -> str:
    """The config file for `name[:variant]`: a path as it is, or a preset that comes with the package."""
    stem, colon, variant = name.partition(":")
    if stem.endswith(".py"):
        if not Path(stem).is_file():
            raise UserError(f"--config={name}: no such file")
        return name
    folder = _preset_directory()
    known = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    if stem not in known:
        raise UserError(f"--config={name}: no such preset{did_you_mean(stem, known)}; known: {', '.join(known)}")
    return f"{folder / stem}.py{colon}{variant}"


def load_preset(name: str) -> ConfigDict:
    """The config of `name[:variant]`, as `--config=` would give it; raises `UserError` where there is none."""
    path, _, variant = resolve_preset(name).partition(".py")
    spec = importlib.util.spec_from_file_location(f"preset_{Path(path).name}", f"{path}.py")
    assert spec is not None  # the file is there
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        config: ConfigDict = module.get_config(*([variant[1:]] if variant else []))
    except ValueError as error:
        raise UserError(f"config {name}: {error}") from None
    config.lock()  # as `--config=` has it: an unknown key is an error
    return config


def end_if_fired(fired: Sequence[str], consequence: str = "") -> None:
    """Ends the command with the gates' exit code, and says on stderr which of them fired, if any did."""
    if fired:
        print(f"tfpdu: --fail_if: {'; '.join(fired)}{consequence}", file=sys.stderr)
        sys.exit(FIRED)


def run(main: Callable[[Sequence[str]], None], argv: Sequence[str] | None = None, arguments: int = 0) -> None:
    """Runs a command and turns every way to end into an exit code; does not return.

    Args:
      main: gets the program's name and the words that are no flags.
      argv: the command line; None: the process's own.
      arguments: the most words that are no flags.
    """
    sys.exit(_exit_code(main, list(sys.argv if argv is None else argv), arguments))


def _exit_code(main: Callable[[Sequence[str]], None], argv: list[str], arguments: int) -> int:
    try:
        # config_flags looks its overrides up in sys.argv itself.
        if {"--help", "--helpshort", "-h", "-help"} & set(argv):
            print(_help(sys.modules[main.__module__]))
            return 0
        sys.argv = [_with_resolved_preset(word) for word in _with_default_preset(argv)]
        _quiet()
        with deferred():
            app.run(main, argv=sys.argv, flags_parser=functools.partial(_parse, arguments=arguments))
        return 0
    except SystemExit as end:
        return int(end.code or 0) if "--helpfull" not in argv else 0
    except UserError as error:
        return _fail(2, str(error))
    except StopRequested as stop:
        _fail(0, f"stopped by {stop}; the same command resumes where it was")
        return 143 if str(stop) == "SIGTERM" else 130
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _fail(1, f"{error.filename or 'disk'}: no space left; free some and run the same command to resume")
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            return _fail(2, f"{error.filename}: {os.strerror(error.errno or 0).lower()}")
        raise


def _help(module: ModuleType) -> str:
    """What the command is for, and its flags."""
    own = flags.FLAGS.get_key_flags_for_module(module) + flags.FLAGS.get_flags_for_module(__name__)
    lines = [f"  --{flag.name}: {flag.help}" for flag in sorted(set(own), key=lambda flag: flag.name)]
    return "\n".join([(module.__doc__ or "").strip(), "", "flags:", *lines, "  --helpfull: all flags"])


def _quiet() -> None:
    """Leaves stderr to tfpdu's own lines: TensorFlow tells of each device and each oneDNN switch otherwise."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.set_verbosity(logging.WARNING)
    warnings.filterwarnings("ignore", category=UserWarning, module="keras")


def _fail(code: int, message: str) -> int:
    print("tfpdu: " + " ".join(message.split()), file=sys.stderr)
    return code


def _with_default_preset(argv: list[str]) -> list[str]:
    """Names the default preset where a command that takes one was given none.

    It cannot be the flag's own default: ml_collections would apply overrides to that before anything is parsed.
    """
    if "config" not in flags.FLAGS or any(word.lstrip("-").startswith("config=") for word in argv):
        return argv
    return [argv[0], f"--config={_default[0]}", *argv[1:]]


def _with_resolved_preset(word: str) -> str:
    for dashes in ("--config=", "-config="):
        if word.startswith(dashes):
            return dashes + resolve_preset(word.removeprefix(dashes))
    return word


def _parse(argv: Sequence[str], arguments: int = 0) -> list[str]:
    """Parses flags; what is wrong becomes one line."""
    try:
        remaining = flags.FLAGS(list(argv))
        for name in flags.FLAGS:  # a config file is loaded at parsing, its own errors surface on reading
            _ = flags.FLAGS[name].value
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        text = str(error.args[0] if error.args else error).strip("'\"").replace("\\n", " ")
        raise UserError(f"command line: {_override_at_fault(argv, error)}{text}") from None
    if len(remaining) > 1 + arguments:
        raise UserError(f"command line: unexpected argument {remaining[1 + arguments]!r}")
    return remaining


def _override_at_fault(argv: Sequence[str], error: Exception) -> str:
    """Which --config.x=y an AttributeError of ml_collections is about."""
    if not isinstance(error, AttributeError):
        return ""
    return next((f"{word}: " for word in argv if word.startswith("--config.") and _last_key(word) in str(error)), "")


def _last_key(word: str) -> str:
    return word.partition("=")[0].rpartition(".")[2]


def _preset_directory() -> Path:
    spec = importlib.util.find_spec("tfpdu_configs")
    if spec is None or not spec.submodule_search_locations:
        return Path(__file__).resolve().parents[2] / "configs"
    return Path(next(iter(spec.submodule_search_locations)))


def json_path(text: str) -> Path | None:
    """The file that --output names, None for an empty text; raises `UserError` where it cannot be written as .json."""
    if not text:
        return None
    path = Path(text)
    if path.suffix != ".json" or path.is_dir():
        raise UserError(f"--output={text}: expected a file that ends in .json")
    if not path.parent.is_dir():
        raise UserError(f"--output={text}: no such directory as {path.parent}")
    return path


def as_dict(config: ConfigDict) -> dict[str, Any]:
    """The resolved config as plain nested dicts."""
    return config.to_dict()
