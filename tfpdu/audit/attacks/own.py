"""One's own attack, by its name in Python."""

import importlib

from tfpdu.audit.attacks.base import Attack
from tfpdu.common.errors import UserError
from tfpdu.common.validation import did_you_mean


def own_attack(name: str) -> Attack:
    """A new attack from "package.module:function", a function or class that makes an unfitted one without arguments.

    Raises:
      UserError: the module cannot be imported, lacks the function, or what that makes is no `Attack`.
    """
    package, _, function = name.partition(":")
    try:
        module = importlib.import_module(package)
    except Exception as error:  # whatever the user's module raises
        raise UserError(f"attack {name}: {package!r} cannot be imported ({_line(error)})") from None
    make = getattr(module, function, None)
    if not callable(make):
        raise UserError(f"attack {name}: {package} has no function {function!r}{did_you_mean(function, vars(module))}")
    try:
        attack = make()
    except Exception as error:
        raise UserError(f"attack {name}: cannot be made without arguments ({_line(error)})") from None
    if not (isinstance(attack, Attack) and isinstance(attack.name, str)):
        raise UserError(f"attack {name}: expected a name, fit and score, as tfpdu.testing.check_attack asks for")
    return attack


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
