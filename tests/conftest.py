"""The environment that every command of this project sets before it imports torch."""

from dipo_eval.cpu_env import set_process_env

set_process_env()
