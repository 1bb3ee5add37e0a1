"""The part of a response that answers: without thoughts and without end marks. All graders read this and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dipo_eval import linear

# How models mark a thought; "unfinished" means that the closing mark never comes.
_TAGS = ("think", "thinking", "thought", "thoughts", "reasoning", "reflection", "scratchpad", "seed:think")
_PAIRS = {
    **{f"<{tag}>": f"</{tag}>" for tag in _TAGS},
    "[think]": "[/think]",  # Magistral
    "\u25c1think\u25b7": "\u25c1/think\u25b7",  # Kimi
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|startofthought|>": "<|endofthought|>",
    "<unused94>": "<unused95>",  # MedGemma
    "<start_working_out>": "<end_working_out>",  # Unsloth's recipes for GRPO
    "<|start_thinking|>": "<|end_thinking|>",  # Command A
    "<|channel>": "<channel|>",  # Gemma 4
    "<|inner_prefix|>": "<|inner_suffix|>",  # Apertus
}
_CLOSES = set(_PAIRS.values())
_MARK = linear.bounded("|".join(map(re.escape, (*_PAIRS, *_PAIRS.values()))), re.IGNORECASE)
_CHANNEL, _MESSAGE = "<|channel|>", "<|message|>"
_SEGMENT_ENDS = ("<|end|>", "<|return|>", "<|start|>", "<|call|>")
_BARE_FINAL, _BARE_CALL = "assistantfinal", "assistantcommentary to="
_BARE_ANALYSIS = linear.bounded(r"analysis(?=[A-Z])")
_END_MARKS = (
    "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|eom_id|>", "<|end|>", "<|return|>", "<|call|>",
    "</s>", "<eos>", "<end_of_turn>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "<|eot|>", "<pad>", "[EOS]",
    "<turn|>", "<|tool_response>", "<|END_OF_TURN_TOKEN|>",
)  # fmt: skip
_MAY_END_MARK = frozenset(">] \n\t\r")
_AROUND = (
    "<|begin_of_solution|>", "<|end_of_solution|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>",
    "<|END_TEXT|>",
)  # fmt: skip
"""Marks around the answer that follows a thought."""


def final_text(response: str) -> str:
    """``response`` without its thoughts; what an unfinished thought contains is no answer.

    A thought goes from its mark to the first mark that closes it. A closing mark without an opening one ends a thought
    that the prompt began. Of Harmony's channels only ``final`` and messages to a function are kept.
    """
    if _CHANNEL in response:
        text = "".join(_channels(response))
    elif response.startswith("analysis") and _BARE_ANALYSIS.match(response):
        text = _bare_channels(response)
    else:
        text = response
    if "<" in text or "[" in text or "\u25c1" in text:
        text = _without_thoughts(text)
        for mark in _AROUND:
            text = text.replace(mark, "")
    return without_end_marks(text)


def without_end_marks(text: str) -> str:
    """``text`` without the marks at its end that stop a generation, and the white space between them."""
    if text[-1:] not in _MAY_END_MARK:
        return text
    end = kept = len(text)
    while True:
        while end and text[end - 1].isspace():
            end -= 1
        mark = next((one for one in _END_MARKS if text.endswith(one, 0, end)), None)
        if mark is None:
            return text[:kept]
        end -= len(mark)
        while end and text[end - 1].isspace():
            end -= 1
        kept = end


def thoughts_end(text: str) -> int:
    """Where the last finished thought of ``text`` ends, marks included; 0 without one. Not for Harmony's channels."""
    end, closing = 0, ""
    for mark in _MARK.finditer(text):
        found = mark[0].lower()
        if found == closing or (not closing and found in _CLOSES):
            end, closing = mark.end(), ""
        elif not closing:
            closing = _PAIRS[found]
    return end


def _without_thoughts(text: str) -> str:
    kept: list[str] = []
    at, closing = 0, ""
    for mark in _MARK.finditer(text):
        found = mark[0].lower()
        if closing:
            if found == closing:
                at, closing = mark.end(), ""
        elif found in _CLOSES:
            kept, at = [], mark.end()
        else:
            kept.append(text[at : mark.start()])
            closing = _PAIRS[found]
    if not closing:
        kept.append(text[at:])
    return "".join(kept)


def _bare_channels(response: str) -> str:
    """Harmony decoded without its special tokens: the final message, else those to functions."""
    if _BARE_FINAL in response:
        return response.rpartition(_BARE_FINAL)[2]
    calls = [part.partition("{") for part in response.split(_BARE_CALL)[1:]]
    return "".join(
        f"{_CHANNEL}commentary to={header}{_MESSAGE}{opened}{body}<|call|>" for header, opened, body in calls
    )


def _channels(response: str) -> Iterator[str]:
    """The messages of Harmony's channels that answer, those to a function with their header.

    Source: the format of gpt-oss, https://cookbook.openai.com/articles/openai-harmony.
    """
    first, *segments = response.split(_CHANNEL)
    before, _, role = first.partition("<|start|>")
    yield before.strip() and before
    for segment in segments:
        header, marked, body = segment.partition(_MESSAGE)
        header, role = f"{header} {role}" if "to=" in role else header, segment.rpartition("<|start|>")[2]
        if not marked:
            continue
        ends = [at for end in _SEGMENT_ENDS if (at := body.find(end)) >= 0]
        body = body[: min(ends)] if ends else body
        if header.split("<", 1)[0].split()[:1] == ["final"]:
            yield body
        elif "to=" in header:
            yield f"{_CHANNEL}{header}{_MESSAGE}{body}<|call|>"
