"""Whether something is refused as bad input is."""

from collections.abc import Callable

from tfpdu.common.errors import UserError


def refuses(call: Callable[[], object]) -> bool:
    """Whether a call raises `UserError`, with one line."""
    try:
        call()
    except UserError as error:
        return "\n" not in str(error).strip()
    return False
