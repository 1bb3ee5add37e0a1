"""From messages to the tokens that an engine gets, with the model's own chat template."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from dipo_eval.engines.base import Message, Prompt
from dipo_eval.engines.device import set_engine_env
from dipo_eval.errors import UserError, one_line

Tools = Sequence[dict[str, Any]]
# Words, numbers, whitespace and characters that tokenizers split and normalise in different ways.
_PROBE = (
    "The answer is 12345.678, isn't it?\n\n  x² ≠ \\frac{1}{2}\t<b>Ünïcode</b> ﬁ Å 中文 🙂 don't  STOP\r\n"
)


class ModelRenderer:
    """The tokenizer and chat template of one model folder.

    `form` is "chat" where the tokenizer has a chat template, else "plain": the contents joined by blank
    lines and one line break, as base models are prompted. `thinking` switches the template's thinking mode
    (Qwen3's `enable_thinking`); None keeps the template's default. Raises UserError for a tokenizer that
    does not load, and for `thinking` with a template that has no such mode.
    """

    def __init__(self, model: Path, thinking: bool | None = None) -> None:
        set_engine_env(model)
        from transformers import AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(str(model), trust_remote_code=False)
        except Exception as error:
            raise UserError(f"{model}: its tokenizer does not load ({one_line(error)})") from error
        template = self._tokenizer.chat_template
        self._model, self._template = model, json.dumps(template) if template else ""
        self.form = "chat" if template else "plain"
        self.template_hash = hashlib.sha256(self._template.encode()).hexdigest() if template else None
        self.tokenizer = {"end_tokens": end_tokens(model, self._tokenizer), "tokenizer_hash": self._hash()}
        self._options = {} if thinking is None else {"enable_thinking": thinking}
        if thinking is not None and "enable_thinking" not in self._template:
            raise UserError(
                f"{model}: its chat template has no thinking mode to switch; leave --thinking out"
            )

    def _hash(self) -> str:
        """sha256 of what the tokenizer does, the same when a training saves it in another form."""
        ids = self._tokenizer(_PROBE)["input_ids"]
        options = {"clean_up_tokenization_spaces": False}  # as the engines decode
        decoded = [self._tokenizer.decode(ids, skip_special_tokens=skip, **options) for skip in (False, True)]
        return _sha256(json.dumps([sorted(self._tokenizer.get_vocab().items()), ids, decoded]))

    def render(self, messages: Sequence[Message], tools: Tools | None = None) -> Prompt:
        """Tokens of the messages and of the start of the assistant's turn.

        Raises UserError where the template refuses them, or where it cannot show the tools.
        """
        if tools is not None and "tools" not in self._template:
            raise UserError(
                f"{self._model}: its chat template takes no tools; evaluate the suite's prompt form instead"
            )
        text = self._text(messages, tools)
        # A template writes the special tokens itself; a plain prompt gets those of the tokenizer (bos).
        token_ids = self._tokenizer(text, add_special_tokens=self.form == "plain")["input_ids"]
        return Prompt(text, list(token_ids), _sha256(text), messages, tools)

    def render_plain(self, text: str) -> Prompt:
        """A text to continue as it is, without the template; with the tokenizer's bos, if any."""
        return Prompt(text, list(self._tokenizer(text)["input_ids"]), _sha256(text), plain=True)

    def _text(self, messages: Sequence[Message], tools: Tools | None) -> str:
        if self.form == "plain":
            return "\n\n".join(str(message["content"]) for message in messages) + "\n"
        try:
            offered = None if tools is None else list(tools)
            options = {"tokenize": False, "add_generation_prompt": True, **self._options}
            return str(self._tokenizer.apply_chat_template(list(messages), tools=offered, **options))
        except Exception as error:  # templates are programs of the model's author
            raise UserError(f"the model's chat template refuses the prompt ({one_line(error)})") from error


class ServerRenderer:
    """For a server that applies its own chat template: the prompt is the messages themselves."""

    form = "the server's chat template"
    template_hash: str | None = None
    tokenizer: ClassVar[dict[str, Any]] = {}

    def render(self, messages: Sequence[Message], tools: Tools | None = None) -> Prompt:
        """The messages and tools as JSON, and no tokens."""
        shown: Any = list(messages) if tools is None else {"messages": list(messages), "tools": list(tools)}
        text = json.dumps(shown, ensure_ascii=False)
        return Prompt(text, [], _sha256(text), messages, tools)

    def render_plain(self, text: str) -> Prompt:
        """The text itself, for completions, which apply no template."""
        return Prompt(text, [], _sha256(text), plain=True)


# Makes prompts. `form`, `template_hash` and `tokenizer` say how, and are stored in the results.
Renderer = ModelRenderer | ServerRenderer


def end_tokens(model: Path, tokenizer: Any) -> list[int]:
    """Tokens that end a response: those of generation_config.json (without it, of config.json), of the tokenizer and of
    its chat template, since each may name one that the others do not. Raises UserError for a file that does not load.
    """
    from transformers import AutoConfig, GenerationConfig

    try:
        if (model / "generation_config.json").is_file():
            found = GenerationConfig.from_pretrained(str(model)).eos_token_id
        else:
            config = AutoConfig.from_pretrained(str(model), trust_remote_code=False)
            found = GenerationConfig.from_model_config(config).eos_token_id
    except Exception as error:
        raise UserError(f"{model}: its generation_config.json does not load ({one_line(error)})") from error
    configured = found if isinstance(found, list | tuple) else [found]
    found = (*configured, tokenizer.eos_token_id, turn_end(tokenizer))
    return sorted({int(token) for token in found if token is not None})


def turn_end(tokenizer: Any) -> int | None:
    """The special token with which the chat template ends the assistant's turn; None where there is none.

    Base models with a chat template, such as Qwen3-4B-Base, name <|endoftext|> alone as their end, but their template
    ends a turn with <|im_end|>: what follows it is no part of the answer.
    """
    content = "the answer"
    turns = [{"role": "user", "content": "a question"}, {"role": "assistant", "content": content}]
    try:
        text = str(tokenizer.apply_chat_template(turns, tokenize=False)) if tokenizer.chat_template else ""
    except Exception:  # templates are programs of the model's author
        return None
    after = text.rpartition(content)[2]
    first = next(iter(tokenizer(after, add_special_tokens=False)["input_ids"]), None) if after else None
    added = tokenizer.added_tokens_decoder.get(first)
    return int(first) if first is not None and added is not None and added.special else None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
