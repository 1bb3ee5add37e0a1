"""Evaluate checkpoints on suites: check all data, then load each model once, generate, grade, store."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dipo_eval.engines.base import DTYPES, ENGINES, Sampling
from dipo_eval.engines.prompts import ModelRenderer, Renderer, ServerRenderer
from dipo_eval.errors import UserError
from dipo_eval.results.claim import claimed, fingerprint
from dipo_eval.results.comparable import differences, made_with
from dipo_eval.results.store import read_result, suite_folder
from dipo_eval.runner.generation_cache import GenerationCache
from dipo_eval.runner.progress import Reporter, reporter
from dipo_eval.runner.request_queue import Limits, Queue
from dipo_eval.runner.task import (
    Options,
    SuiteResult,
    Task,
    finish_task,
    make_header,
    make_prompts,
    make_slots,
    regrade_task,
)
from dipo_eval.secrets.refusing import refuse_secrets, refuse_url_secrets
from dipo_eval.secrets.values import secrets_in
from dipo_eval.subject.checkpoints import Checkpoint
from dipo_eval.subject.frozen_model import ModelChangedError
from dipo_eval.subject.subject import Subject, as_it_is_now, load, subject_of
from dipo_eval.suites import Item, Suite, get_suites

# Context for suites whose prompts grow with the answers (BFCL's conversations), where the model has that much.
DIALOGUE_CONTEXT = 32_768


def evaluate(
    checkpoints: Sequence[Checkpoint],
    suites: Sequence[str],
    *,
    results_dir: Path,
    run: str,
    engine: str = "vllm",
    samples: int = 1,
    limit: int | None = None,
    temperature: float = 0.0,
    top_p: float = 1.0,
    max_new_tokens: int = 1024,
    max_model_len: int | None = None,
    dtype: str = "auto",
    seed: int = 0,
    stop: Sequence[str] = (),
    thinking: bool | None = None,
    base_url: str | None = None,
    data_dir: Path | None = None,
    force: bool = False,
    progress: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> list[SuiteResult]:
    """Evaluate every checkpoint on every suite; the results come in the order given, checkpoints outermost.

    All suites are loaded and their golds checked, and all models hashed, before the first one is loaded. A result that
    is whole and of the same model, engine, suite and settings is not made again; one that differs only in the grader
    is graded again from its samples; and a response that an earlier, killed evaluation got is taken from the cache in
    `results_dir` (generation_cache.py). All suites of a checkpoint share one queue and one load of its model.

    `max_new_tokens` counts tokens of one response; a prompt's answer is also limited by the context
    (`max_model_len`, None: what the longest prompt needs, up to the model's own). `dtype` "auto" is float32 on
    CPU and the model's own on a GPU. `stop`: texts that end a response, beside the model's own end and the
    suite's. `thinking`: the chat template's thinking mode, None as the template has it. `base_url`: the server
    of engine "openai"; it need not answer where all is there already. `say` is told in one line what the user should
    know: a result that is replaced, a file that is left out, a server that does not answer.

    Raises UserError for bad data, options or models, for weights that are not finite, and for a model whose files
    change while it is evaluated, of which nothing is stored; results of other settings under the same names are not
    overwritten without `force`, and a folder that another process is evaluating is left to it.
    """
    options = Options(
        Path(results_dir), run, engine, Sampling(temperature, top_p), samples, limit, max_new_tokens,
        max_model_len, dtype, seed, force, tuple(stop), thinking, base_url, say,
    )  # fmt: skip
    _check_options(options, checkpoints)
    loaded = [(suite, suite.load(data_dir, limit, seed)) for suite in get_suites(suites)]
    names = [suite.name for suite, _ in loaded]
    results: list[SuiteResult] = []
    with reporter(progress) as report:
        with report.step("hashing weights"):
            subjects = [subject_of(checkpoint, names, options) for checkpoint in checkpoints]
        for subject in subjects:
            _refuse_other_settings(subject, names, options)
        for subject in subjects:
            results += _evaluate_checkpoint(as_it_is_now(subject, names, options), loaded, options, report)
    return results


def _check_options(options: Options, checkpoints: Sequence[Checkpoint]) -> None:
    if not checkpoints:
        raise UserError("no checkpoint to evaluate; name a model folder")
    if options.engine not in ENGINES:
        raise UserError(f"unknown engine {options.engine!r}; choose from {', '.join(ENGINES)}")
    if options.samples < 1 or options.max_new_tokens < 1:
        raise UserError(
            f"samples={options.samples} and max_new_tokens={options.max_new_tokens} must be at least 1"
        )
    if options.dtype not in DTYPES:
        raise UserError(f"unknown dtype {options.dtype!r}; choose from {', '.join(DTYPES)}")
    if not options.sampling.temperature >= 0 or not 0 < options.sampling.top_p <= 1:
        raise UserError("temperature must be 0 or more and top_p in (0, 1]")
    if options.samples > 1 and options.sampling.temperature == 0:
        raise UserError(
            f"{options.samples} samples at temperature 0 would be alike; set --temperature above 0"
        )
    if "" in options.stop:
        raise UserError("a stop text is empty, which would end every response at once; leave it out")
    if (options.engine == "openai") != (options.base_url is not None):
        raise UserError("engine openai and base_url go together: name the server with --base-url, or neither")
    if options.engine == "openai" and options.thinking is not None:
        raise UserError(
            "a server has its own chat template: set its thinking mode there, not with --thinking"
        )
    if options.base_url is not None:
        refuse_url_secrets("--base-url", options.base_url, "set the environment variable OPENAI_API_KEY")
    written = [str(options.settings()), *(str(checkpoint.path) for checkpoint in checkpoints)]
    refuse_secrets("the evaluation's settings", "\n".join(written), secrets_in(os.environ))
    for checkpoint in checkpoints:
        suite_folder(options.results_dir, options.run, checkpoint.name, "suite")


def _refuse_other_settings(subject: Subject, suites: Sequence[str], options: Options) -> None:
    """Before anything is generated: the same weights under the same names, but asked in another way."""
    wanted = {**options.settings(), **subject.identity.settings}
    del wanted["engine_version"]  # a newer engine is asked again, as a newer model is
    for suite in suites:
        folder = suite_folder(options.results_dir, options.run, subject.checkpoint.name, suite)
        old = None if options.force else read_result(folder, verify=False)
        if old is None or old["model"]["weights_hash"] != subject.identity.weights_hash:
            continue
        differing = [key for key, value in wanted.items() if old["settings"].get(key, value) != value]
        if differing:
            raise UserError(
                f"{folder}: holds results with other settings ({', '.join(differing)}); "
                "use another --run, or --force"
            )


def _evaluate_checkpoint(
    subject: Subject, loaded: Sequence[tuple[Suite, list[Item]]], options: Options, report: Reporter
) -> list[SuiteResult]:
    checkpoint = subject.checkpoint
    renderer = _renderer(checkpoint, options)
    done: dict[str, SuiteResult] = {}
    tasks: list[Task] = []
    for suite, items in loaded:
        folder = suite_folder(options.results_dir, options.run, checkpoint.name, suite.name)
        header = make_header(checkpoint, subject.identity, suite, items, renderer, options)
        prompts = make_prompts(suite, items, renderer)
        task = Task(suite, items, prompts, folder, header, seen=fingerprint(folder))
        found = _existing(task, options, report)
        if found:
            done[suite.name] = found
        else:
            tasks.append(task)
    with contextlib.ExitStack() as claims:
        tasks = [_claim(task, options, claims) for task in tasks]
        for name, result in _run_tasks(subject, tasks, renderer, options, report):
            done[name] = result
    return [done[suite.name] for suite, _ in loaded]


def _claim(task: Task, options: Options, claims: contextlib.ExitStack) -> Task:
    claim = claimed(options.results_dir, task.folder, task.seen, task.header["settings"], options.say)
    return replace(task, claim=claims.enter_context(claim))


def _renderer(checkpoint: Checkpoint, options: Options) -> Renderer:
    if options.engine == "openai":
        return ServerRenderer()
    return ModelRenderer(checkpoint.path, options.thinking)


def _existing(task: Task, options: Options, report: Reporter) -> SuiteResult | None:
    """The stored result where it answers this task, graded again if only the grader has changed."""
    old = None if options.force else read_result(task.folder)
    if old is None:
        return None
    reason = _outdated(old, task)
    if reason:
        options.say(f"{task.folder}: its result is replaced, since {reason}")
        return None
    if old["hashes"]["suite_hash"] == task.header["hashes"]["suite_hash"]:
        return SuiteResult(task.folder, old, "found")
    with contextlib.ExitStack() as claims:
        return regrade_task(_claim(task, options, claims), old, report)


def _outdated(old: dict[str, Any], task: Task) -> str:
    """Why a stored result is of another model or question, in words; empty where at most the grader is another."""
    others = [
        name
        for name, value in task.header["model"].items()
        if name != "path" and old["model"].get(name) != value
    ]
    if others:
        return f"it is of another model ({', '.join(others)})"
    found = differences(made_with(old), made_with(task.header))
    if (
        old["settings"] == task.header["settings"]
    ):  # the options were checked before: this is the model's own part
        found = [one for one in found if one.name == "items_sha256"]
        return "its items are others" if found else ""
    return (
        ", ".join(one.words("there", "now") for one in found if one.name != "suite_hash")
        or "its settings are others"
    )


def _run_tasks(
    subject: Subject, tasks: list[Task], renderer: Renderer, options: Options, report: Reporter
) -> list[tuple[str, SuiteResult]]:
    """Generate for all tasks with one load of the model at most, then grade each and store it."""
    if not tasks:
        return []
    context = _context_length(subject.checkpoint, tasks, options)
    slots = {task.suite.name: make_slots(task, options) for task in tasks}
    everything = [slot for some in slots.values() for slot in some]
    check = subject.files.check_stamps if subject.files else lambda: None
    cache = GenerationCache(options.results_dir, subject.identity, read=not options.force, check=check)
    label = f"{subject.checkpoint.name}: generating"
    try:
        with report.bar(label, sum(slot.n for slot in everything)) as advance:
            limits = Limits(options.max_new_tokens, context)
            queue = Queue(renderer, cache, options.sampling, limits, lambda slot: advance(slot.n))
            queue.run(everything, lambda: load(subject, context, options))
        if subject.files is not None:
            subject.files.check_used()
    except ModelChangedError:
        cache.discard()
        raise
    finally:
        cache.close()
    return [
        (task.suite.name, finish_task(task, slots[task.suite.name], queue.load_seconds, options, report))
        for task in tasks
    ]


def _context_length(checkpoint: Checkpoint, tasks: list[Task], options: Options) -> int | None:
    """Tokens of prompt and response together: no more than needed, since a KV cache is sized by it."""
    if options.engine == "openai":
        return None
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(checkpoint.path), trust_remote_code=False).get_text_config()
    own = getattr(config, "max_position_embeddings", None) or 2**31
    if options.max_model_len is not None:
        if options.max_model_len > own:
            raise UserError(
                f"max_model_len={options.max_model_len} is more than the {own} of {checkpoint.path}"
            )
        return options.max_model_len
    longest = max(len(prompt.token_ids) for task in tasks for prompt in task.prompts)
    grows = any(task.suite.converse is not None for task in tasks)
    return int(min(own, max(longest + options.max_new_tokens, DIALOGUE_CONTEXT if grows else 0)))
