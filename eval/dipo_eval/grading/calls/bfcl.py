"""BFCL: its categories and their languages, and the package bfcl-eval with its data, environments and checkers.

The package is installed without its dependencies, a dozen API clients (requirements/cpu.txt). A stand-in for its
table of models keeps its checkers from importing them. No other module of ours imports it.
"""

from __future__ import annotations

import copy
import enum
import importlib
import importlib.util
import json
import os
import sys
import tempfile
import types
from functools import lru_cache
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError, short_repr

VERSION = "2026.3.23"
_MODELS = "bfcl_eval.constants.model_config"
_ENVIRONMENTS = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code"
NATIVE_MODEL = "native"
ENVIRONMENTS = {
    "GorillaFileSystem": "gorilla_file_system", "MathAPI": "math_api", "MessageAPI": "message_api",
    "TwitterAPI": "posting_api", "TicketAPI": "ticket_api", "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking", "VehicleControlAPI": "vehicle_control",
}  # fmt: skip
SINGLE_TURN = (
    "simple_python", "simple_java", "simple_javascript",
    "multiple", "parallel", "parallel_multiple", "irrelevance",
    "live_simple", "live_multiple", "live_parallel", "live_parallel_multiple", "live_irrelevance", "live_relevance",
)  # fmt: skip
MULTI_TURN = ("multi_turn_base", "multi_turn_miss_func", "multi_turn_miss_param", "multi_turn_long_context")


class Language(enum.Enum):
    """The language of a category's calls and parameter types."""

    PYTHON = "python"
    JAVA = "java"
    JAVASCRIPT = "javascript"


_LANGUAGES = {name: Language.PYTHON for name in (*SINGLE_TURN, "simple", "relevance")} | {
    "simple_java": Language.JAVA,
    "simple_javascript": Language.JAVASCRIPT,
}


def language_of(category: str) -> Language:
    """The language of a single-turn category. Raises UserError for a name that is none."""
    if category in _LANGUAGES:
        return _LANGUAGES[category]
    if category in MULTI_TURN:
        raise UserError(f"category {category}: a conversation; grade it with dipo_eval.grading.grade_turns")
    raise UserError(f"category {category!r}: unknown; one of {', '.join(SINGLE_TURN)}")


def is_installed() -> bool:
    """Whether bfcl-eval can be imported; nothing of it is imported to find out."""
    return importlib.util.find_spec("bfcl_eval") is not None


def module(name: str) -> Any:
    """A module of bfcl-eval by its full name. Raises UserError where the package is not installed."""
    _folder()
    if "BFCL_PROJECT_ROOT" not in os.environ:  # importing it makes folders there
        root = Path(tempfile.gettempdir()) / f"dipo-bfcl-{os.getuid()}"
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.environ["BFCL_PROJECT_ROOT"] = str(root)
    if _MODELS not in sys.modules:
        stand_in = types.ModuleType(_MODELS)
        stand_in.__dict__["MODEL_CONFIG_MAPPING"] = _AnyModel()
        sys.modules[_MODELS] = stand_in
    return importlib.import_module(name)


class _AnyModel(dict[str, Any]):
    """bfcl-eval's table of models: every model but ``NATIVE_MODEL`` sees dots in function names."""

    def __missing__(self, name: str) -> Any:
        return types.SimpleNamespace(underscore_to_dot=name == NATIVE_MODEL)


def environment_class(name: str) -> type:
    """The class of a multi-turn environment such as ``GorillaFileSystem``. Raises UserError for others."""
    if name not in ENVIRONMENTS:
        raise UserError(f"environment {name!r}: unknown; one of {', '.join(ENVIRONMENTS)}")
    found: type = getattr(module(f"{_ENVIRONMENTS}.{ENVIRONMENTS[name]}"), name)
    return found


def _folder() -> Path:
    spec = importlib.util.find_spec("bfcl_eval")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"bfcl-eval {VERSION} is not installed: run `make setup`")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


@lru_cache(maxsize=32)
def items(category: str) -> tuple[dict[str, Any], ...]:
    """The items of a category as in its data file, each with its gold under ``ground_truth`` (or [])."""
    name = f"BFCL_v4_{category}.json"
    path, answers = _folder() / name, _folder() / "possible_answer" / name
    if not path.is_file():
        raise UserError(f"bfcl-eval has no data file {name}; is {category!r} a category?")
    golds = {row["id"]: row["ground_truth"] for row in _rows(answers)} if answers.is_file() else {}
    return tuple({**row, "ground_truth": golds.get(row["id"], [])} for row in _rows(path))


def item(category: str, item_id: str) -> dict[str, Any]:
    """The item of a category with that id. Raises UserError where there is none."""
    for row in items(category):
        if row["id"] == item_id:
            return row
    raise UserError(f"bfcl-eval {VERSION} has no item {short_repr(item_id)} in the category {category}")


def prompt(row: dict[str, Any]) -> list[dict[str, str]]:
    """The first messages that bfcl-eval's handlers give a model without native tool calls, made by its own code.

    Its default system prompt with the functions as JSON, language hints included, then the item's messages.
    """
    messages = copy.deepcopy(row["question"][0])
    with_system = module("bfcl_eval.model_handler.utils").system_prompt_pre_processing_chat_model
    return list(with_system(messages, functions(row), row["id"]))


def functions(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Descriptions of the functions on offer from the start, as bfcl-eval shows them to a model."""
    if "involved_classes" in row:
        return _of_environments(*_key(row))[0]
    made = {"id": row["id"], "function": copy.deepcopy(row["function"])}
    (made,) = module("bfcl_eval.utils").add_language_specific_hint_to_function_doc([made])
    return list(made["function"])


def held_back(row: dict[str, Any]) -> dict[int, list[dict[str, Any]]]:
    """Descriptions of the functions that a conversation gets only in a later turn, by that turn's 0-based index."""
    return _of_environments(*_key(row))[1]


def tools(described: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The functions as OpenAI's tools, by bfcl-eval's own conversion, which names ``a.b`` ``a_b``."""
    convert = module("bfcl_eval.model_handler.utils").convert_to_tool
    types_of = module("bfcl_eval.constants.type_mappings").GORILLA_TO_OPENAPI
    style = module("bfcl_eval.constants.enums").ModelStyle.OPENAI_COMPLETIONS
    return list(convert(described, types_of, style))


def first_tools(row: dict[str, Any]) -> list[dict[str, Any]]:
    """``functions`` as tools; cached for conversations with the same environments, so not to be changed."""
    return _environment_tools(*_key(row)) if "involved_classes" in row else tools(functions(row))


@lru_cache(maxsize=1024)
def _environment_tools(*key: Any) -> list[dict[str, Any]]:
    return tools(_of_environments(*key)[0])


def _key(row: dict[str, Any]) -> tuple[str, tuple[str, ...], str]:
    held = json.dumps(row.get("missed_function", {}), sort_keys=True)
    return str(row["id"]).rpartition("_")[0], tuple(row["involved_classes"]), held


@lru_cache(maxsize=1024)
def _of_environments(
    category: str, classes: tuple[str, ...], held: str
) -> tuple[list[dict[str, Any]], dict[int, list[dict[str, Any]]]]:
    utils = module("bfcl_eval.utils")
    row = {"id": f"{category}_0", "involved_classes": list(classes)}
    missed = json.loads(held)
    if missed:
        row["missed_function"] = missed
    made = utils.add_language_specific_hint_to_function_doc(
        utils.populate_test_cases_with_predefined_functions([row])
    )[0]
    return made["function"], {int(turn): found for turn, found in made.get("missed_function", {}).items()}


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
