"""The tokens around a model's messages in an episode, by its own chat template.

What the model sampled is never rendered: the template writes a stand-in message in its place, and what follows the end of
that message is what follows the model's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dipo_eval.engines.prompts import turn_end
from dipo_eval.errors import UserError, one_line
from dipo_eval.grading.calls.chosen_form import PROBE_TOOLS, taught_by

Message = dict[str, Any]
_MARK = "the model's message 7f3a"
_PROBE = "result 91c4"


class ToolTemplate:
    """The chat template of one tokenizer. Raises UserError where it cannot show tools' results.

    `call_form`: the form in which it writes calls, a name of `CALL_FORMS`, or `any` where that cannot be told.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        end = turn_end(tokenizer)
        if end is None:
            raise UserError(
                "tool agent: the model's chat template ends a turn with no special token, or there is none"
            )
        self._end, self._end_text = end, str(tokenizer.decode([end], skip_special_tokens=False))
        self._special = sorted(_markup(tokenizer), key=len, reverse=True)
        probe = self.after_calls(["probe"], [_PROBE], 0, ended=True)
        if _PROBE not in tokenizer.decode(probe):
            raise UserError("tool agent: the model's chat template shows no messages of the role `tool`")
        self.call_form = taught_by(self._written_calls)

    def opening(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> list[int]:
        """Tokens of the first messages with the tools on offer, and of the start of the model's turn."""
        text = self._text(messages, tools)
        if tools and text == self._text(messages, None):
            raise UserError("tool agent: the model's chat template takes no tools")
        return self._tokens(text)

    def check_unrendered(self, prompt: str) -> None:
        """Raise UserError for a prompt that has the template around it already."""
        head = self._text([{"role": "user", "content": _MARK}], None).partition(_MARK)[0]
        if head.strip() and prompt.startswith(head):
            raise UserError(
                "data.apply_chat_template: must be false with a tool agent, which applies the template with the tools"
            )

    def has_ended(self, tokens: Sequence[int]) -> bool:
        """Whether a sampled message closes its turn itself."""
        return bool(tokens) and tokens[-1] == self._end

    def after_calls(
        self, names: Sequence[str], results: Sequence[str], first_id: int, *, ended: bool
    ) -> list[int]:
        """Tokens of the results of a message's calls, as `tool` messages, and of the start of the next turn.

        `first_id`: the number of the episode's calls before. Text of special tokens in results and names is broken up.
        """
        # Nine letters and digits: Mistral's templates refuse any other id.
        ids = [f"call{(first_id + index) % 100_000:05d}" for index in range(len(results))]
        names = [self.harmless(name) for name in names]
        messages = [
            {"role": "tool", "tool_call_id": one, "name": name, "content": self.harmless(result)}
            for one, name, result in zip(ids, names, results, strict=True)
        ]
        calls = [
            [{"id": ids[0], "type": "function", "function": {"name": names[0], "arguments": arguments}}]
            for arguments in (
                {"mark": _MARK},
                json.dumps({"mark": _MARK}),
            )  # as templates differ in what they take
        ]
        return self._after(messages, [{"tool_calls": one} for one in calls], ended)

    def after_answer(self, messages: Sequence[Message], *, ended: bool) -> list[int]:
        """Tokens of the user's next messages, and of the start of the next turn."""
        return self._after(list(messages), [{}], ended)

    def harmless(self, text: str) -> str:
        """`text` in which no special token or mark of the template is left: a space after its first character."""
        text = text.encode("utf-8", "replace").decode("utf-8")
        for mark in self._special:
            text = text.replace(mark, f"{mark[0]} {mark[1:]}")
        return text

    def _written_calls(self, calls: list[dict[str, Any]]) -> str:
        """The template's text of a message with these calls of `PROBE_TOOLS`, without header and end."""
        asked = [{"role": "user", "content": "."}]
        answer = {"role": "assistant", "content": "", "tool_calls": calls}
        for tools in (PROBE_TOOLS, None):  # some show tools with the last user's message alone
            whole = self._text([*asked, answer], tools, generation=False)
            for begun in (True, False):  # some begin a thought
                head = self._text(asked, tools, generation=begun)
                if whole.startswith(head):
                    return whole[len(head) :].partition(self._end_text)[0]
        raise UserError("tool agent: the chat template changes what it wrote before a call")

    def _after(self, messages: list[Message], extras: list[dict[str, Any]], ended: bool) -> list[int]:
        errors = []
        for extra in extras:
            stand_in = {"role": "assistant", "content": _MARK, **extra}
            try:
                text = self._text([{"role": "user", "content": "."}, stand_in, *messages], None)
            except UserError as error:
                errors.append(error)
                continue
            end = text.find(self._end_text, text.rfind(_MARK))
            if _MARK in text and end >= 0:
                return self._tokens(text[end + (len(self._end_text) if ended else 0) :])
        raise (
            errors[0] if errors else UserError("tool agent: the chat template does not end the model's turn")
        )

    def _text(
        self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] | None, *, generation: bool = True
    ) -> str:
        try:
            offered = list(tools) if tools else None
            options = {"tokenize": False, "add_generation_prompt": generation}
            return str(self.tokenizer.apply_chat_template(list(messages), tools=offered, **options))
        except Exception as error:  # templates are programs of the model's author
            raise UserError(
                f"tool agent: the model's chat template refuses a message ({one_line(error)})"
            ) from error

    def _tokens(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def _markup(tokenizer: Any) -> set[str]:
    """Special tokens, and added ones that look like a mark, such as <tool_call>."""
    added = tokenizer.added_tokens_decoder.values()
    found = {str(token) for token in added if token.special or str(token)[:1] in "<["}
    return {mark for mark in found if len(mark) > 1 and not mark.isspace()}
