"""The one error that a user is meant to read."""


class UserError(Exception):
    """A mistake that the user can mend: bad input, a missing file, an impossible combination.

    The message is ONE line that says what is wrong, where (key, file, line) and what to do. The command
    line prints it without a traceback and exits with status 2.
    """
