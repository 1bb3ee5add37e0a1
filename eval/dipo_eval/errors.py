"""The one error that a user is meant to read, and values and errors in one line, all without secrets."""

from dipo_eval.secrets.errors import UserError, one_line, short_repr

__all__ = ["UserError", "one_line", "short_repr"]
