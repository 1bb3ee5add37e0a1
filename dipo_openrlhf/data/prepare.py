"""One data set from its rows to the prompts file and the report beside it. Not a data set."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError, short_repr
from dipo_eval.files.atomic import write_atomic
from dipo_eval.runner.progress import Reporter
from dipo_openrlhf.data.base import TEMPLATES, Dataset, Prompt, json_lines
from dipo_openrlhf.data.clean import Cleaned, clean
from dipo_openrlhf.data.leaks import HOWS, LeakIndex, Meeting, Suites, read_suites
from dipo_openrlhf.data.options import Options
from dipo_openrlhf.data.sources import open_source

MADE = 1280
"""Generated prompts without --limit: the quickstart's 20 steps of 64."""


@dataclass(frozen=True)
class Written:
    """One prompts file; `unchanged` where it existed with the same bytes."""

    path: Path
    rows: int
    sha256: str
    unchanged: bool


@dataclass(frozen=True)
class Outcome:
    """What `prepare` wrote, and its report as in the file."""

    files: list[Written]
    report: dict[str, Any]
    report_path: Path


def prepare(dataset: Dataset, options: Options, progress: Reporter) -> Outcome:
    """Read, clean, compare with every suite, write. The same input gives the same bytes.

    Raises UserError in one line, with the place in the data where there is one, and writes nothing then.
    """
    template = template_of(dataset, options.template)
    header, found = _read(dataset, options, progress)
    with progress.bar("reading the suites", None) as advance:
        suites = read_suites(options.data_dir, options.also, options.suite_seed, advance, dataset.part_of)
    met = _met(found.kept, LeakIndex(suites, options.ngram, options.share), progress)
    dropping = HOWS if options.drop_wording else HOWS[:2]
    leaked = {id for id, meetings in met.items() if meetings[0].how in dropping}
    clean_prompts = [prompt for prompt in found.kept if prompt.id not in leaked]
    train, heldout = _split(clean_prompts, options.split, options.seed)
    limited = _limited(train, options.limit, options.seed)
    if not limited:
        raise UserError(
            f"{header['source']}: {_nothing_left(found, met, leaked, options)}; nothing was written"
        )
    parts = [(options.out, limited), *([(options.heldout, heldout)] if options.split else [])]
    files = _write(parts, dataset.name, template, options.force)
    report = {
        **header,
        "options": _settings(options, template),
        "prompts": _facts(files[0]),
        "heldout": _facts(files[1]) if options.split else None,
        "counts": _counts(found, met, leaked, len(train) - len(limited)),
        "suites": _by_suite(suites, met),
        "not_checked": suites.unread,
        "dropped": [asdict(one) for one in found.dropped] + _meetings(met, leaked),
        "kept_with_the_wording_of": _meetings(met, met.keys() - leaked),
    }
    write_atomic(options.report, (json.dumps(report, indent=1) + "\n").encode("ascii"))
    return Outcome(files, report, options.report)


def _nothing_left(found: Cleaned, met: dict[str, list[Meeting]], leaked: set[str], options: Options) -> str:
    """Why, with the counts, and the first row that was dropped."""
    counts = _counts(found, met, leaked, 0)
    reasons = [f"{number:,} {why}" for why, number in counts["dropped"].items()]
    if counts["same_row_again"]:
        reasons.append(f"{counts['same_row_again']:,} the same row again")
    if options.split and counts["kept"]:
        reasons.append(f"{counts['kept']:,} held out by --split {options.split:g}")
    text = f"no prompt is left of {found.read} rows"
    if reasons:
        text += f" ({', '.join(reasons)})"
    if found.dropped:
        text += f"; the first, {found.dropped[0].where}: {found.dropped[0].met}"
    return text


def template_of(dataset: Dataset, asked: str | None) -> str:
    """The template by name or as given. Raises UserError for one without {question}."""
    name = asked or dataset.template
    template = TEMPLATES.get(name, name)
    if "{question}" not in template:
        raise UserError(
            f"--prompt {short_repr(name)}: give {', '.join(TEMPLATES)}, or a string with {{question}}"
        )
    if dataset.reward != "math" and template != TEMPLATES["plain"]:
        raise UserError(
            f"--prompt: {dataset.name} holds complete conversations with their tools; leave it out"
        )
    return template


def _read(dataset: Dataset, options: Options, progress: Reporter) -> tuple[dict[str, Any], Cleaned]:
    header = {"dataset": dataset.name, "reward": dataset.reward}
    if dataset.make is not None:
        if options.file is not None:
            raise UserError(f"--from: {dataset.name} is generated from --seed; leave it out")
        made = dataset.make(options.limit or MADE, options.seed)
        return {**header, "source": "generated", "source_sha256": None}, Cleaned(len(made), 0, made)
    source = open_source(dataset, options.file, options.data_dir)
    with progress.bar(f"reading {source.name}", None) as advance:
        found = clean(dataset, source.rows, options.drop_bad or source.published, advance)
    return {**header, "source": source.name, "source_sha256": source.sha256}, found


def _met(prompts: Sequence[Prompt], index: LeakIndex, progress: Reporter) -> dict[str, list[Meeting]]:
    """The suite items that each prompt meets, for those that meet any."""
    met = {}
    with progress.bar("comparing with the suites", len(prompts)) as advance:
        for prompt in prompts:
            if meetings := index.meetings(prompt):
                met[prompt.id] = meetings
            advance(1)
    return met


def place_of(seed: int, prompt_id: str) -> float:
    """A number in [0, 1) by the id alone: rows that are added or removed move no other prompt."""
    digest = hashlib.sha256(f"{seed}/{prompt_id}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _split(prompts: list[Prompt], share: float, seed: int) -> tuple[list[Prompt], list[Prompt]]:
    train = [prompt for prompt in prompts if place_of(seed, prompt.id) >= share]
    return train, [prompt for prompt in prompts if place_of(seed, prompt.id) < share]


def _limited(prompts: list[Prompt], limit: int | None, seed: int) -> list[Prompt]:
    """The `limit` prompts whose places come first, in the order given; hashed independently of `_split`."""
    if limit is None or limit >= len(prompts):
        return prompts
    ranked = sorted(prompts, key=lambda one: place_of(seed, f"limit/{one.id}"))
    chosen = {prompt.id for prompt in ranked[:limit]}
    return [prompt for prompt in prompts if prompt.id in chosen]


def _write(
    parts: Sequence[tuple[Path, list[Prompt]]], datasource: str, template: str, force: bool
) -> list[Written]:
    """All files or none; one that exists with other content is refused unless `force`."""
    files = []
    for path, prompts in parts:
        content = "".join(json_lines(prompts, datasource, template)).encode("ascii")
        unchanged = path.is_file() and path.read_bytes() == content
        if path.exists() and not unchanged and not (force and path.is_file()):
            raise UserError(f"{path}: has other content; name another --out, or replace it with --force")
        files.append((Written(path, len(prompts), hashlib.sha256(content).hexdigest(), unchanged), content))
    for written, content in files:
        if not written.unchanged:
            written.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(written.path, content)
    return [written for written, _ in files]


def _settings(options: Options, template: str) -> dict[str, Any]:
    """Everything that decides the content, without paths."""
    keys = ("limit", "seed", "split", "template", "suite_seed", "ngram", "share", "drop_wording", "drop_bad")
    return {key: template if key == "template" else getattr(options, key) for key in keys}


def _facts(written: Written) -> dict[str, Any]:
    return {"file": written.path.name, "rows": written.rows, "sha256": written.sha256}


def _counts(found: Cleaned, met: dict[str, list[Meeting]], leaked: set[str], by_limit: int) -> dict[str, Any]:
    dropped = Counter(one.why for one in found.dropped)
    dropped.update(f"suite, {met[id][0].how}" for id in leaked)
    return {
        "read": found.read,
        "same_row_again": found.repeats,
        "dropped": dict(sorted(dropped.items())),
        "left_by_limit": by_limit,
        "kept": len(found.kept) - len(leaked) - by_limit,
    }


def _by_suite(suites: Suites, met: dict[str, list[Meeting]]) -> dict[str, dict[str, Any]]:
    """By suite: how many prompts met it, each counted once, by its closest item there."""
    counts: Counter[tuple[str, str]] = Counter()
    for meetings in met.values():
        closest = {meeting.suite: meeting.how for meeting in reversed(meetings)}
        counts.update(closest.items())
    return {
        suite.name: {
            "items": suite.items,
            "items_sha256": suite.sha256,
            **{how: counts[suite.name, how] for how in HOWS},
        }
        for suite in suites.read
    }


def _meetings(met: dict[str, list[Meeting]], ids: Sequence[str] | set[str]) -> list[dict[str, Any]]:
    return [
        {"id": id, "why": f"suite, {meetings[0].how}", "met": [str(one) for one in meetings]}
        for id, meetings in met.items()
        if id in ids
    ]
