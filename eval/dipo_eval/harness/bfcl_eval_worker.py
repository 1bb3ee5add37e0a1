"""The process that runs bfcl-eval's own decoder and checker on responses to BFCL's single-turn items.

Its decoder passes parts of a response to eval(), for arithmetic in arguments. That is why it runs only here, in a
process that is killed at its limit and has neither our memory nor our variables, and why even here eval() is replaced:
arithmetic on literals is folded, and a response with more than that is undecided instead of run.
"""

from __future__ import annotations

import ast
from typing import Any

from dipo_eval.grading.calls import bfcl
from dipo_eval.grading.calls.bfcl import language_of
from dipo_eval.grading.calls.grade import calls_of
from dipo_eval.grading.calls.python_calls import NotLiteralError, fold
from dipo_eval.workers.server import Answer


class _WouldRunError(BaseException):
    """bfcl-eval would evaluate more of the response than arithmetic. It catches every Exception, so this is none."""


def load(settings: dict[str, Any]) -> Answer:
    """The verdict on a row with a response, and the id and category of its item."""
    bfcl.module("bfcl_eval.model_handler.utils").eval = _arithmetic
    bfcl.module("bfcl_eval.eval_checker.ast_eval.ast_checker")
    return _answer


def _arithmetic(text: str) -> Any:
    try:
        value = fold(ast.parse(text, mode="eval").body)
    except NotLiteralError as error:
        raise _WouldRunError from error
    if isinstance(value, float) and value != value:  # TOO_LARGE, or made of it
        raise _WouldRunError
    return value


def _answer(row: dict[str, Any]) -> dict[str, Any]:
    item = bfcl.item(row["category"], row["item_id"])
    response, model = row["response"], "model"
    if row["native"]:  # each of its handlers decodes a form of its own: read by us, compared by it
        response, model = calls_of(response, row["category"]), bfcl.NATIVE_MODEL
    try:
        status, reason = official_verdict(response, item, row["category"], model)
    except _WouldRunError:
        status, reason = "undecided", "not asked: it would run code of the response"
    return {"status": status, "reason": reason}


def official_verdict(
    response: Any, item: dict[str, Any], category: str, model: str = "model"
) -> tuple[str, str]:
    """("correct" or "wrong", bfcl-eval's reason) for a string or decoded calls, as in
    bfcl_eval/eval_checker/eval_runner.py.

    Where its checker raises, which ends an evaluation with it, the response is incorrect and the reason names the error.
    """
    utils = bfcl.module("bfcl_eval.utils")
    enums = bfcl.module("bfcl_eval.constants.enums")
    language = language_of(category).value
    decoded, failed = response, ""
    if isinstance(response, str):
        decode = bfcl.module("bfcl_eval.model_handler.utils").default_decode_ast_prompting
        try:
            decoded = decode(response, enums.ReturnFormat(language))
        except Exception as error:
            decoded, failed = None, f"decoder: {type(error).__name__}"
    if "relevance" in category:
        called = decoded is not None and not utils.is_empty_output(decoded)
        status = "correct" if called is ("irrelevance" not in category) else "wrong"
        return status, "a call" if called else failed or "no call"
    if failed or not utils.is_function_calling_format_output(decoded):
        return "wrong", failed or "not in the format of calls"
    checker = bfcl.module("bfcl_eval.eval_checker.ast_eval.ast_checker").ast_checker
    try:
        result = checker(
            item["function"], decoded, item["ground_truth"], enums.Language(language), category, model
        )
    except Exception as error:
        return "wrong", f"checker raises {type(error).__name__}"
    return ("correct", "valid") if result["valid"] else ("wrong", str(result["error_type"])[:200])
