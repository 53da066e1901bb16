"""The two ways in which a command ends early, and what each means to the user."""


class UserError(Exception):
    """The user's input is at fault: exit code 2, one line, no traceback.

    The message names the flag, file or row and says what was expected.
    """


class Busy(UserError):
    """Another process holds the directory."""


class StopRequested(Exception):
    """SIGINT or SIGTERM arrived; raised at a safe point, when nothing is half-written."""
