"""From messages to the exact tokens that an engine sees, with the model's own chat template."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipo_eval.cpu_env import set_engine_env
from dipo_eval.engine import one_line
from dipo_eval.errors import UserError


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt, its tokens, and the sha256 of the text."""

    text: str
    token_ids: list[int]
    prompt_hash: str


class Renderer:
    """The tokenizer of one model.

    `form` is "chat" where the tokenizer has a chat template, else "plain": the contents joined by blank
    lines and one line break, as base models are prompted. Raises UserError for a tokenizer that does not
    load.
    """

    def __init__(self, model: Path) -> None:
        set_engine_env(model)
        from transformers import AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(str(model), trust_remote_code=False)
        except Exception as error:
            raise UserError(f"{model}: its tokenizer does not load ({one_line(error)})") from error
        template = self._tokenizer.chat_template
        self.form = "chat" if template else "plain"
        self.template_hash = hashlib.sha256(json.dumps(template).encode()).hexdigest() if template else None

    def render(self, messages: Sequence[dict[str, str]]) -> Prompt:
        """Tokens of the messages, the assistant's turn opened. UserError where the template refuses them."""
        if self.form == "plain":
            text = "\n\n".join(message["content"] for message in messages) + "\n"
        else:
            try:
                text = self._tokenizer.apply_chat_template(
                    list(messages), tokenize=False, add_generation_prompt=True
                )
            except Exception as error:  # templates are programs of the model's author
                raise UserError(
                    f"the model's chat template refuses the prompt ({one_line(error)})"
                ) from error
        # A template writes the special tokens itself; a plain prompt gets the tokenizer's own (a bos, say).
        token_ids = self._tokenizer(text, add_special_tokens=self.form == "plain")["input_ids"]
        return Prompt(
            text, list(token_ids), hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        )
