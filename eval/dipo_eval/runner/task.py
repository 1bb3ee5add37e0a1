"""One suite of one checkpoint: what it asks, and grading and writing down what came out."""

from __future__ import annotations

import datetime
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipo_eval.engines.base import TOO_LONG, Prompt, Sampling
from dipo_eval.engines.cpu_env import usable_cores
from dipo_eval.engines.prompts import Renderer
from dipo_eval.grading import Verdict
from dipo_eval.results.claim import Claim
from dipo_eval.results.store import read_samples, write_suite
from dipo_eval.runner.metrics import counts_from_samples, metrics_from_samples
from dipo_eval.runner.progress import Reporter
from dipo_eval.runner.provenance import suite_hash, versions
from dipo_eval.runner.request_queue import Answer, Slot
from dipo_eval.subject.checkpoints import Checkpoint
from dipo_eval.subject.identity import Identity
from dipo_eval.suites import Item, Suite
from dipo_eval.suites.base import items_sha256


@dataclass(frozen=True)
class SuiteResult:
    """One results.json, where it lies, and how it came about: "generated", "regraded" or "found"."""

    folder: Path
    result: dict[str, Any]
    origin: str


@dataclass(frozen=True)
class Options:
    """Everything of one call of evaluate that is the same for all checkpoints and suites."""

    results_dir: Path
    run: str
    engine: str
    sampling: Sampling
    samples: int
    limit: int | None
    max_new_tokens: int
    max_model_len: int | None
    dtype: str
    seed: int
    force: bool
    stop: tuple[str, ...] = ()
    thinking: bool | None = None
    base_url: str | None = None
    say: Callable[[str], None] = lambda line: None  # one line that the user should know

    def settings(self) -> dict[str, Any]:
        """The settings of results.json, without those of what answers (Identity) and of its prompts (Renderer)."""
        return {
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "max_new_tokens": self.max_new_tokens,
            "max_model_len": self.max_model_len,
            "n_samples": self.samples,
            "seed": self.seed,
            "limit": self.limit,
            "stop": list(self.stop),
            "thinking": self.thinking,
        }


@dataclass(frozen=True)
class Task:
    """One suite of one checkpoint that is still to be evaluated."""

    suite: Suite
    items: list[Item]
    prompts: list[Prompt]
    folder: Path
    header: dict[str, Any]  # results.json without metrics, counts, samples hash and times
    seen: str = ""  # claim.fingerprint of the folder before anybody asked whether it has to be evaluated
    claim: Claim | None = None  # set while the task is carried out


def make_header(
    checkpoint: Checkpoint,
    identity: Identity,
    suite: Suite,
    items: list[Item],
    renderer: Renderer,
    options: Options,
) -> dict[str, Any]:
    """What results.json says before anything is generated; the settings decide whether a result is reused."""
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
    """The first prompt of every item: its messages in the model's template, or its text as it stands."""
    if suite.plain:
        return [renderer.render_plain(item.messages[0]["content"]) for item in items]
    return [renderer.render(item.messages, item.tools) for item in items]


def make_slots(task: Task, options: Options) -> list[Slot]:
    """The task's places in the queue, in the order of its items: a dialogue has one for each sample."""
    slots = []
    stop = (*options.stop, *task.suite.stop)
    for item, prompt in zip(task.items, task.prompts, strict=True):
        seed = item_seed(options.seed, item.id)
        dialogues = (
            [task.suite.converse(item) for _ in range(options.samples)] if task.suite.converse else [None]
        )
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
    verdicts = _grade(task, [(one.text, one.finish_reason) for one in answers], report)
    rows = [
        _row(task, position, options.samples, answer, verdict)
        for position, (answer, verdict) in enumerate(zip(answers, verdicts, strict=True))
    ]
    seconds = {
        "load": load_seconds,
        "generate": max(slot.seconds for slot in slots),
        "grade": time.monotonic() - started,
    }
    return SuiteResult(task.folder, _store(task, rows, seconds, task.header["versions"]), "generated")


def regrade_task(task: Task, old: dict[str, Any], report: Reporter) -> SuiteResult | None:
    """Grade the stored responses of `old` again, without an engine; None where they are not this task's."""
    rows = read_samples(task.folder)
    samples = task.header["n_samples_per_item"]
    if [row["item_id"] for row in rows] != [item.id for item in task.items for _ in range(samples)]:
        return None
    started = time.monotonic()
    verdicts = _grade(task, [(row["response"], row["finish_reason"]) for row in rows], report)
    rows = [row | verdict_fields(verdict) for row, verdict in zip(rows, verdicts, strict=True)]
    seconds = {**old["seconds"], "grade": time.monotonic() - started}
    return SuiteResult(task.folder, _store(task, rows, seconds, old["versions"]), "regraded")


def _grade(task: Task, responses: Sequence[tuple[str, str]], report: Reporter) -> list[Verdict]:
    """Verdicts in order of (response, finish reason). Threads: the slow ones wait for the grader's processes.

    A question that was never asked is wrong, also where saying nothing is the right answer (BFCL's irrelevance).
    """
    count = len(responses) // len(task.items)
    with report.bar(f"{task.header['checkpoint']}: grading {task.suite.name}", len(responses)) as advance:

        def grade(position: int) -> Verdict:
            response, finish_reason = responses[position]
            verdict = Verdict("wrong", "the prompt fills the context")
            if finish_reason != TOO_LONG:
                verdict = task.suite.grade(response, task.items[position // count])
            advance(1)
            return verdict

        with ThreadPoolExecutor(usable_cores()) as pool:
            return list(pool.map(grade, range(len(responses))))


def _row(task: Task, position: int, samples: int, answer: Answer, verdict: Verdict) -> dict[str, Any]:
    item, prompt = task.items[position // samples], task.prompts[position // samples]
    return {
        **item.meta,
        "item_id": item.id,
        "sample": position % samples,
        "prompt_hash": prompt.prompt_hash,
        "prompt": prompt.text,
        "response": answer.text,
        "gold": item.gold,
        **verdict_fields(verdict),
        "prompt_tokens": answer.prompt_tokens,
        "response_tokens": answer.n_tokens,
        "truncated": answer.finish_reason != "stop",
        "finish_reason": answer.finish_reason,
        **({"requests": answer.requests} if task.suite.converse else {}),
    }


def verdict_fields(verdict: Verdict) -> dict[str, Any]:
    """A verdict as the row of a sample holds it."""
    return {"status": verdict.status, "reason": verdict.reason, "extracted": verdict.extracted}


def measured(suite: Suite, rows: Sequence[Mapping[str, Any]], answered: Mapping[str, str]) -> dict[str, Any]:
    """The part of results.json that its samples alone decide, and the versions that it was made with.

    `answered`: versions known of what gave the responses, such as the GPU; those of packages here stand above them.
    """
    metrics = metrics_from_samples(rows)
    return {
        "metrics": metrics,
        **({"overall": suite.overall(metrics)} if suite.overall else {}),
        "counts": counts_from_samples(rows),
        "versions": {**answered, **versions()},
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
    """A seed of the item's own, so that neither order nor limit changes what an item is sampled with."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{item_id}".encode()).digest()[:4], "big")
