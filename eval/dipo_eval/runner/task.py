"""One suite of one checkpoint: its prompts, and grading and storing the responses."""

from __future__ import annotations

import datetime
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipo_eval.engines.base import Prompt
from dipo_eval.engines.prompts import Renderer
from dipo_eval.results.claim import Claim
from dipo_eval.results.store import read_samples, write_suite
from dipo_eval.runner.grade import in_threads, measured, verdict, verdict_fields
from dipo_eval.runner.options import Options
from dipo_eval.runner.progress import Reporter
from dipo_eval.runner.provenance import suite_hash
from dipo_eval.runner.regrade import regraded_rows
from dipo_eval.runner.request_queue import Answer, Slot
from dipo_eval.subject.checkpoints import Checkpoint
from dipo_eval.subject.identity import Identity
from dipo_eval.suites import Item, Suite
from dipo_eval.suites.base import items_sha256


@dataclass(frozen=True)
class SuiteResult:
    """One results.json, its folder, and its origin: "generated", "regraded" or "found"."""

    folder: Path
    result: dict[str, Any]
    origin: str


@dataclass(frozen=True)
class Task:
    """One suite of one checkpoint that is to be evaluated."""

    suite: Suite
    items: list[Item]
    prompts: list[Prompt]
    folder: Path
    header: dict[str, Any]  # results.json without metrics, counts, samples hash and times
    seen: str = ""  # claim.fingerprint of the folder before its result was read
    claim: Claim | None = None  # set while the task is carried out


def make_header(
    checkpoint: Checkpoint,
    identity: Identity,
    suite: Suite,
    items: list[Item],
    renderer: Renderer,
    options: Options,
) -> dict[str, Any]:
    """results.json before anything is generated; its settings decide whether a stored result is reused."""
    return {
        "run": options.run,
        "checkpoint": checkpoint.name,
        "step": checkpoint.step,
        "suite": suite.name,
        "model": {
            "path": str(checkpoint.path),
            **identity.model,
            **({"revision": checkpoint.revision} if checkpoint.revision else {}),
        },
        "settings": {
            **identity.settings,
            **options.settings(),
            **renderer.tokenizer,
            "prompt_form": "completion" if suite.plain else renderer.form,
            "chat_template_hash": None if suite.plain else renderer.template_hash,
            **({"suite_stop": list(suite.stop)} if suite.stop else {}),
        },
        "n_items": len(items),
        "n_samples_per_item": options.samples,
        "hashes": {"items_sha256": items_sha256(items), "suite_hash": suite_hash(suite, items)},
        "versions": dict(identity.shown),
    }


def make_prompts(suite: Suite, items: Sequence[Item], renderer: Renderer) -> list[Prompt]:
    """The first prompt of every item: its messages in the model's template, or its text as it is."""
    if suite.plain:
        return [renderer.render_plain(item.messages[0]["content"]) for item in items]
    return [renderer.render(item.messages, item.tools) for item in items]


def make_slots(task: Task, options: Options) -> list[Slot]:
    """The task's places in the queue, in the order of its items: a dialogue has one for each sample."""
    slots = []
    stop = (*options.stop, *task.suite.stop)
    for item, prompt in zip(task.items, task.prompts, strict=True):
        seed = item_seed(options.seed, item.id)
        converse = task.suite.converse or (lambda item: None)
        dialogues = [converse(item) for _ in range(options.samples)]
        if dialogues[0] is None:
            slots.append(Slot(prompt, options.samples, seed, stop))
            continue
        slots += [
            Slot(prompt, 1, item_seed(seed, str(sample)), stop, dialogue)
            for sample, dialogue in enumerate(dialogues)
        ]
    return slots


def finish_task(
    task: Task, slots: Sequence[Slot], load_seconds: float, options: Options, report: Reporter
) -> SuiteResult:
    """Grade and store one suite from its answered slots.

    `seconds.generate` runs from the start of the queue, which all suites share, to this suite's last response.
    """
    answers = [answer for slot in slots for answer in slot.answers]
    started = time.monotonic()
    with report.bar(_label(task), len(answers)) as advance:
        rows = in_threads(lambda pair: _row(task, *pair, options.samples), enumerate(answers), advance)
    seconds = {
        "load": load_seconds,
        "generate": max(slot.seconds for slot in slots),
        "grade": time.monotonic() - started,
    }
    return SuiteResult(task.folder, _store(task, rows, seconds, task.header["versions"]), "generated")


def regrade_task(task: Task, old: dict[str, Any], report: Reporter) -> SuiteResult | None:
    """Grade the stored responses of `old` again, without an engine; None where they are not of this task's items."""
    stored, started = read_samples(task.folder), time.monotonic()
    with report.bar(_label(task), len(stored)) as advance:
        rows = regraded_rows(task.suite, task.items, task.header["n_samples_per_item"], stored, advance)
    if rows is None:
        return None
    seconds = {**old["seconds"], "grade": time.monotonic() - started}
    return SuiteResult(task.folder, _store(task, rows, seconds, old["versions"]), "regraded")


def _label(task: Task) -> str:
    return f"{task.header['checkpoint']}: grading {task.suite.name}"


def _row(task: Task, position: int, answer: Answer, samples: int) -> dict[str, Any]:
    item, prompt = task.items[position // samples], task.prompts[position // samples]
    found = verdict(task.suite.grade, answer.text, answer.finish_reason, item)
    return {
        **item.meta,
        "item_id": item.id,
        "sample": position % samples,
        "prompt_hash": prompt.prompt_hash,
        "prompt": prompt.text,
        "response": answer.text,
        "gold": item.gold,
        **verdict_fields(found),
        "prompt_tokens": answer.prompt_tokens,
        "response_tokens": answer.n_tokens,
        "truncated": answer.finish_reason != "stop",
        "finish_reason": answer.finish_reason,
        **({"requests": answer.requests} if task.suite.converse else {}),
    }


def _store(
    task: Task, rows: list[dict[str, Any]], seconds: dict[str, float], answered: Mapping[str, str]
) -> dict[str, Any]:
    result = {
        **task.header,
        **measured(task.suite, rows, answered),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    if task.claim is not None:
        task.claim.check()
    return write_suite(task.folder, rows, result)


def item_seed(seed: int, item_id: str) -> int:
    """A seed for each item, independent of the order and of the limit."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{item_id}".encode()).digest()[:4], "big")
