"""No key in a recipe: it is printed, kept in the run's folder, uploaded to trackers and shown on the board."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.secrets.names import is_secret_name
from dipo_eval.secrets.refusing import held_secret, refuse_url_secrets
from dipo_eval.secrets.values import secrets_in
from dipo_openrlhf.recipe.yaml_lines import Setting

_REMEDIES = {
    "reward.remote_url": "let a reward file of your own (reward.remote_url: my_reward.py) ask the server, with a key "
    "from an environment variable or from DIPO_SECRETS_FILE",
    "logger.wandb": "set the environment variables WANDB_API_KEY and WANDB_BASE_URL",
}
_REMEDY = (
    "set the environment variable that its client reads (HF_TOKEN, AWS_SECRET_ACCESS_KEY, ...), or a line of "
    "DIPO_SECRETS_FILE"
)


def check_no_secrets(settings: Mapping[str, Setting]) -> None:
    """Raise UserError, with the place and never the value: a key, an address with a password, a value of this
    environment's secrets.
    """
    secrets = secrets_in(os.environ)
    for key, setting in settings.items():
        place = f"{setting.where}: {key}"
        remedy = next((text for start, text in _REMEDIES.items() if key.startswith(start)), _REMEDY)
        strings = list(_strings(setting.value))
        if is_secret_name(key) and strings:
            raise UserError(
                f"{place}: a key in a recipe or an argument is printed and uploaded; take it out and {remedy} instead"
            )
        for text in strings:
            refuse_url_secrets(place, text, remedy)
            if name := held_secret(text, secrets):
                raise UserError(
                    f"{place}: holds the value of {name}, which would be printed and stored: take it out"
                )


def _strings(value: Any) -> Iterator[str]:
    """Every string and number in a setting; switches and empty values hold no key."""
    if isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(key)
            yield from _strings(inner)
    elif value not in (None, "") and not isinstance(value, bool):
        yield str(value)
