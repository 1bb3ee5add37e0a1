"""A suite of the user's own: one YAML beside its JSON lines, or one Python file with a SUITE. Not a suite."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from dipo_eval.discovery import nearest
from dipo_eval.errors import UserError, one_line, short_repr
from dipo_eval.files.yaml_file import read_yaml
from dipo_eval.grading import Verdict
from dipo_eval.grading.math.extract import extract_answer
from dipo_eval.results.store import is_safe_name
from dipo_eval.suites.base import Item, Suite, take
from dipo_eval.suites.data_file import Record, read_records
from dipo_eval.suites.math_file import BOXED, grade_item, items_of

ENDINGS = (".py", ".yaml", ".yml")


def _checked(is_good: Callable[[Any], bool], message: str) -> AfterValidator:
    def check(value: Any) -> Any:
        if not is_good(value):
            raise ValueError(message)
        return value

    return AfterValidator(check)


_HAS_QUESTION = _checked(lambda text: "{question}" in text, "must hold {question}, where the question goes")
_NO_EMPTY = _checked(lambda stop: "" not in stop, "an empty string would end every response at once")
_FOLDER = _checked(is_safe_name, "must be a folder's name: letters, digits and . _ + @ = - only")
_STRICT = ConfigDict(extra="forbid", strict=True)


class Fields(BaseModel):
    """The names of a row's fields."""

    model_config = _STRICT

    id: str | None = Field(
        None, description="Without it, items are named by their lines: line-1, line-2, ..."
    )
    question: str = "question"
    answer: str = "answer"
    kind: str | None = Field(None, description="Accuracy is also reported for each value of this field.")


class SuiteFile(BaseModel):
    """The keys of a suite's YAML."""

    model_config = _STRICT

    name: Annotated[str, _FOLDER]
    file: str = Field(description="JSON lines; a relative path starts at the YAML's folder.")
    fields: Fields = Field(default_factory=lambda: Fields.model_validate({}))
    prompt: Annotated[str, _HAS_QUESTION] | None = Field(
        None, description="Text with {question}. math: the instruction to box is added."
    )
    system: str | None = None
    plain: bool = Field(
        False,
        description="The prompt is continued as it is, without the model's chat template or an instruction.",
    )
    stop: Annotated[list[str], _NO_EMPTY] = Field(
        default_factory=list, description="Strings that end a response."
    )
    grader: Literal["math", "exact"] = "math"
    license: str = Field("not stated", validation_alias=AliasChoices("license", "licence"))
    source: str = "a file of the user's own"
    metric: str = "accuracy, avg@k"

    @model_validator(mode="after")
    def _plain_has_no_system(self) -> SuiteFile:
        if self.plain and self.system:
            raise ValueError("a plain prompt has no system message; put its text into prompt")
        return self


def is_suite_path(text: str) -> bool:
    """Whether a name on the command line is the file of a user's own suite."""
    return text.endswith(ENDINGS)


def load_user_suite(path: Path) -> Suite:
    """The suite of a YAML (see ``SuiteFile``) or of a Python file that defines SUITE.

    A Python file is the user's own program and is run. Raises UserError in one line: no such file, an unknown key (with
    the nearest), an invalid value, a Python file that fails or has no SUITE.
    """
    if not os.path.isfile(path):
        raise UserError(
            f"{path}: no such file; name a suite of `dipo eval --list`, or a .yaml or .py file of your own"
        )
    return _from_python(path) if path.suffix == ".py" else _from_yaml(path)


def _from_yaml(path: Path) -> Suite:
    spec = _read(path)

    def load(data_dir: Path | None, limit: int | None, seed: int) -> list[Item]:
        return take(_items(path.parent / spec.file, spec), limit, seed)

    grade = grade_item if spec.grader == "math" else grade_exact
    return Suite(
        spec.name, spec.source, spec.license, spec.metric, load, grade,
        files=(path.resolve(),), stop=tuple(spec.stop), plain=spec.plain,
    )  # fmt: skip


def _read(path: Path) -> SuiteFile:
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold keys such as name and file, and is a {type(content).__name__}")
    try:
        return SuiteFile.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {_explain(error.errors()[0])}") from None


def _explain(error: Mapping[str, Any]) -> str:
    places = [str(part) for part in error["loc"]]
    key = ".".join(places)
    if error["type"] == "missing":
        return f"{key}: is missing; add it"
    if error["type"] == "extra_forbidden":
        known = list((Fields if places[0] == "fields" and len(places) > 1 else SuiteFile).model_fields)
        near = nearest(places[-1], known)
        hint = f"did you mean {near!r}?" if near else f"there are {', '.join(known)}"
        return f"{key}: no such key: {hint}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{key}: {short_repr(error['input'])}: {message}" if key else message


def _items(path: Path, spec: SuiteFile) -> list[Item]:
    fields = spec.fields

    def meta(record: Record) -> Record:
        kind = record.get(fields.kind) if fields.kind else None
        return {} if kind is None else {"kind": str(kind)}

    return items_of(
        read_records(path),
        messages=lambda question: _messages(question, spec),
        meta=meta,
        item_id=fields.id,
        question=fields.question,
        answer=fields.answer,
        readable=spec.grader == "math",
    )


def _messages(question: str, spec: SuiteFile) -> list[dict[str, str]]:
    boxed = spec.grader == "math" and not spec.plain
    default = f"{{question}}\n\n{BOXED}" if boxed else "{question}"
    content = (spec.prompt or default).replace("{question}", question)  # not format(): braces are LaTeX's
    system = [{"role": "system", "content": spec.system}] if spec.system else []
    return [*system, {"role": "user", "content": content}]


def grade_exact(response: str, item: Item) -> Verdict:
    r"""Correct where the answer equals one of the golds up to whitespace.

    The answer is that of the last \boxed{} or of "answer is ...", else the response itself.
    """
    found = extract_answer(response).text
    candidates = [response] if found is None else [found, response]
    golds = {
        " ".join(str(one).split()) for one in (item.gold if isinstance(item.gold, list) else [item.gold])
    }
    texts = [" ".join(candidate.split()) for candidate in candidates]
    for text in texts:
        if text and text in golds:
            return Verdict("correct", "same text", text)
    return Verdict("wrong", "other text", texts[0]) if texts[0] else Verdict("wrong", "no answer found")


def _from_python(path: Path) -> Suite:
    spec = importlib.util.spec_from_file_location(f"dipo_user_suite_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: is no Python file that can be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and inspect look there
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # a check leaves nothing beside the user's file
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:  # any error of the user's own program
        raise UserError(f"{path}: fails when it is imported ({one_line(error)})") from error
    finally:
        sys.dont_write_bytecode = before
    suite = getattr(module, "SUITE", None)
    if not isinstance(suite, Suite):
        raise UserError(f"{path}: defines no SUITE; see eval/dipo_eval/suites/arithmetic_control.py for one")
    if not is_safe_name(suite.name):
        raise UserError(
            f"{path}: the name {suite.name!r} cannot be a folder: letters, digits and . _ + @ = - only"
        )
    return replace(suite, files=(*suite.files, path.resolve()))
