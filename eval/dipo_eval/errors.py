"""The one error that a user is meant to read, and any error in one line; defined with what masks secrets in them."""

from dipo_eval.secrets.errors import UserError, one_line

__all__ = ["UserError", "one_line"]
