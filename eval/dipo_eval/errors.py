"""The one error that a user is meant to read."""


class UserError(Exception):
    """A mistake that the user can mend: bad input, a missing file, an impossible combination.

    The message is ONE line that says what is wrong, where (key, file, line) and what to do. The command
    line prints it without a traceback and exits with status 2.
    """


def one_line(error: BaseException) -> str:
    """The first line of an error's message that says anything: what fits in one line for the user."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:400]
