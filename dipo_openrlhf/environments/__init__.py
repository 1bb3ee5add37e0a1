"""Environments for training with tools. Adding one file NAME.py here adds one; nothing else is edited.

The file defines `ENVIRONMENT`, a subclass of `Environment`. One that should stay outside this package is a file of its
own (docs/adding_an_environment.md).
"""

from dipo_openrlhf.environments.environment import Environment, Message, get, names

__all__ = ["Environment", "Message", "get", "names"]
