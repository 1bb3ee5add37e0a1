"""A suite of the user's own: one YAML beside its JSON lines, or one Python file with a SUITE. Not a suite itself."""

from __future__ import annotations

import difflib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from dipo_eval.errors import UserError
from dipo_eval.files.yaml_file import read_yaml
from dipo_eval.grading import Verdict
from dipo_eval.grading.math.extract import extract_answer
from dipo_eval.results.store import is_safe_name
from dipo_eval.suites.base import Item, Suite
from dipo_eval.suites.data_file import read_records
from dipo_eval.suites.math_file import BOXED, checked_gold, checked_text, grade_item, take

ENDINGS = (".py", ".yaml", ".yml")


class Fields(BaseModel):
    """Which field of a row is what."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str | None = Field(None, description="Without it, items are named by their line: line-1, line-2, ...")
    question: str = "question"
    answer: str = "answer"
    kind: str | None = Field(None, description="Accuracy is also reported for each value of this field.")


class SuiteFile(BaseModel):
    """The keys of a suite's YAML."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    file: str = Field(description="JSON lines; a relative path starts at the YAML's folder.")
    fields: Fields = Field(default_factory=lambda: Fields.model_validate({}))
    prompt: str | None = Field(
        None, description="Text with {question}. math: the instruction to box is added."
    )
    system: str | None = None
    plain: bool = Field(
        False,
        description="The prompt is continued as it stands, without the model's chat template or an added text.",
    )
    stop: list[str] = Field(default_factory=list, description="Texts that end a response.")
    grader: Literal["math", "exact"] = "math"
    license: str = Field("not stated", validation_alias=AliasChoices("license", "licence"))
    source: str = "a file of the user's own"
    metric: str = "accuracy, avg@k"

    @field_validator("name")
    @classmethod
    def _folder_name(cls, value: str) -> str:
        if not is_safe_name(value):
            raise ValueError("must be a folder's name: letters, digits and . _ + @ = - only")
        return value

    @field_validator("stop")
    @classmethod
    def _stop_is_text(cls, value: list[str]) -> list[str]:
        if "" in value:
            raise ValueError("an empty text would end every response at once")
        return value

    @model_validator(mode="after")
    def _plain_has_no_system(self) -> SuiteFile:
        if self.plain and self.system:
            raise ValueError("a plain prompt has no system message; put its text into prompt")
        return self

    @field_validator("prompt")
    @classmethod
    def _has_question(cls, value: str | None) -> str | None:
        if value is not None and "{question}" not in value:
            raise ValueError("must hold {question}, where the question goes")
        return value


def is_suite_path(text: str) -> bool:
    """Whether a name on the command line is the file of a user's own suite."""
    return text.endswith(ENDINGS)


def load_user_suite(path: Path) -> Suite:
    """The suite of a YAML (see ``SuiteFile``) or of a Python file that defines SUITE.

    A Python file is the user's own program: it is run as it stands. Raises UserError in one line: no such file, a key
    that is not known (with the nearest), a value that does not fit, a Python file that fails or has no SUITE.
    """
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; name a suite of `dipo eval --list`, or a .yaml or .py file of your own"
        )
    return _from_python(path) if path.suffix == ".py" else _from_yaml(path)


def _from_yaml(path: Path) -> Suite:
    spec = _read(path)

    def load(data_dir: Path | None, limit: int | None, seed: int) -> list[Item]:
        del data_dir  # the YAML says where its data are
        return take(_items(path.parent / spec.file, spec), limit, seed)

    grade = grade_item if spec.grader == "math" else grade_exact
    files = (path.resolve(),)
    return Suite(
        spec.name, spec.source, spec.license, spec.metric, load, grade,
        files=files, stop=tuple(spec.stop), plain=spec.plain,
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
        near = difflib.get_close_matches(places[-1], known, n=1)
        return f"{key}: no such key: " + (
            f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        )
    message = error["msg"].removeprefix("Value error, ")
    return f"{key}: {error['input']!r:.80}: {message}" if key else message


def _items(path: Path, spec: SuiteFile) -> list[Item]:
    fields = spec.fields
    items: dict[str, Item] = {}
    lines: dict[str, int] = {}
    for number, record in read_records(path):
        where = f"{path}:{number}"
        item_id = checked_text(record, fields.id, where) if fields.id else f"line-{number}"
        if item_id in items:
            raise UserError(f"{where}: id {item_id!r} is already on line {lines[item_id]}; make ids unique")
        gold = checked_gold(record, where, key=fields.answer, readable=spec.grader == "math")
        meta = (
            {"kind": str(record[fields.kind])} if fields.kind and record.get(fields.kind) is not None else {}
        )
        lines[item_id] = number
        items[item_id] = Item(
            item_id, _messages(checked_text(record, fields.question, where), spec), gold, meta
        )
    if not items:
        raise UserError(f"{path}: has no problems; name a file with at least one line")
    return list(items.values())


def _messages(question: str, spec: SuiteFile) -> list[dict[str, str]]:
    boxed = spec.grader == "math" and not spec.plain
    default = f"{{question}}\n\n{BOXED}" if boxed else "{question}"
    content = (spec.prompt or default).replace("{question}", question)  # not format(): braces are LaTeX's
    system = [{"role": "system", "content": spec.system}] if spec.system else []
    return [*system, {"role": "user", "content": content}]


def grade_exact(response: str, item: Item) -> Verdict:
    r"""Right where the answer is one of the golds, letter by letter, but for white space.

    The answer is what the last \boxed{} holds or what is stated ("answer is ..."), else the whole response.
    """
    found = extract_answer(response).text
    candidates = [response] if found is None else [found, response]
    golds = {
        " ".join(str(gold).split()) for gold in (item.gold if isinstance(item.gold, list) else [item.gold])
    }
    for candidate in candidates:
        text = " ".join(candidate.split())
        if text and text in golds:
            return Verdict("correct", "same text", text)
    text = " ".join(candidates[0].split())
    return Verdict("wrong", "other text", text) if text else Verdict("wrong", "no answer found")


def _from_python(path: Path) -> Suite:
    spec = importlib.util.spec_from_file_location(f"dipo_user_suite_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: is no Python file that can be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and inspect look there
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:  # the user's own program may fail in any way
        raise UserError(
            f"{path}: fails when it is imported ({type(error).__name__}: {error!s:.200})"
        ) from error
    suite = getattr(module, "SUITE", None)
    if not isinstance(suite, Suite):
        raise UserError(f"{path}: defines no SUITE; see eval/dipo_eval/suites/gsm8k.py for one")
    if not is_safe_name(suite.name):
        raise UserError(
            f"{path}: the name {suite.name!r} cannot be a folder: letters, digits and . _ + @ = - only"
        )
    return suite
