"""Evaluate checkpoints on suites: check all data, then load each model once, generate, grade, store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from dipo_eval.engines.base import Sampling
from dipo_eval.engines.prompts import ModelRenderer, Renderer, ServerRenderer
from dipo_eval.errors import UserError
from dipo_eval.results.claim import claimed, fingerprint
from dipo_eval.results.store import suite_folder
from dipo_eval.runner.generation_cache import GenerationCache
from dipo_eval.runner.options import Options, check_options
from dipo_eval.runner.progress import Reporter
from dipo_eval.runner.request_queue import Queue
from dipo_eval.runner.reuse import refuse_other_settings, stored_result
from dipo_eval.runner.subject import Subject, current_subject, load, subject_of
from dipo_eval.runner.task import (
    SuiteResult,
    Task,
    finish_task,
    make_header,
    make_prompts,
    make_slots,
    regrade_task,
)
from dipo_eval.subject.checkpoints import Checkpoint
from dipo_eval.subject.frozen_model import ModelChangedError
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
    log: Callable[[str], None] = lambda line: None,
    beat: Callable[[], None] = lambda: None,
) -> list[SuiteResult]:
    """Evaluate every checkpoint on every suite; the results come in the order given, checkpoints outermost.

    All suites are loaded and their golds checked, and all models hashed, before the first model is loaded. A complete
    result of the same model, engine, suite and settings is kept; one that differs only in the grader is graded again
    from its samples; responses of a killed evaluation are taken from the cache in `results_dir`
    (generation_cache.py). All suites of a checkpoint share one queue and one load of its model.

    `max_new_tokens`: tokens of one response, also limited by the context (`max_model_len` tokens; None: what the
    longest prompt needs, up to the model's own). `dtype` "auto" is float32 on CPU and the model's own on a GPU. `stop`:
    strings that end a response, beside the model's end tokens and the suite's stop strings. `thinking`: the chat
    template's thinking mode, None for its default. `base_url`: the server of engine "openai"; it may be down where all
    results are there already. `log` gets one line for a result that is replaced, a file that is skipped, a server that
    does not answer; `beat` is called whenever something has been done.

    Raises UserError for bad data, options or models, for weights that are not finite, and for a model whose files
    change while it is evaluated, of which nothing is stored. Results of other settings under the same names are not
    overwritten without `force`; nor is a folder that another process is evaluating.
    """
    options = Options(
        Path(results_dir), run, engine, Sampling(temperature, top_p), samples, limit, max_new_tokens,
        max_model_len, dtype, seed, force, tuple(stop), thinking, base_url, log,
    )  # fmt: skip
    check_options(options, checkpoints)
    loaded = [(suite, suite.load(data_dir, limit, seed)) for suite in get_suites(suites)]
    names = [suite.name for suite, _ in loaded]
    results: list[SuiteResult] = []
    with Reporter(progress, beat) as report:
        with report.bar("hashing weights", None):
            subjects = [subject_of(checkpoint, names, options) for checkpoint in checkpoints]
        for subject in subjects:
            refuse_other_settings(subject, names, options)
        for subject in subjects:
            results += _evaluate_checkpoint(current_subject(subject, names, options), loaded, options, report)
    return results


def _evaluate_checkpoint(
    subject: Subject, loaded: Sequence[tuple[Suite, list[Item]]], options: Options, report: Reporter
) -> list[SuiteResult]:
    checkpoint, served = subject.checkpoint, options.engine == "openai"
    renderer = ServerRenderer() if served else ModelRenderer(checkpoint.path, options.thinking)
    done: dict[str, SuiteResult] = {}
    tasks: list[Task] = []
    for suite, items in loaded:
        folder = suite_folder(options.results_dir, options.run, checkpoint.name, suite.name)
        header = make_header(checkpoint, subject.identity, suite, items, renderer, options)
        task = Task(suite, items, make_prompts(suite, items, renderer), folder, header, fingerprint(folder))
        if found := _existing(task, options, report):
            done[suite.name] = found
        else:
            tasks.append(task)
    with contextlib.ExitStack() as claims:
        tasks = [_claim(task, options, claims) for task in tasks]
        done |= _run_tasks(subject, tasks, renderer, options, report)
    return [done[suite.name] for suite, _ in loaded]


def _claim(task: Task, options: Options, claims: contextlib.ExitStack) -> Task:
    claim = claimed(options.results_dir, task.folder, task.seen, task.header["settings"], options.log)
    return replace(task, claim=claims.enter_context(claim))


def _existing(task: Task, options: Options, report: Reporter) -> SuiteResult | None:
    """The stored result where it answers this task, graded again if only the grader has changed."""
    old = stored_result(task, options)
    if old is None:
        return None
    if old["hashes"]["suite_hash"] == task.header["hashes"]["suite_hash"]:
        return SuiteResult(task.folder, old, "found")
    with contextlib.ExitStack() as claims:
        return regrade_task(_claim(task, options, claims), old, report)


def _run_tasks(
    subject: Subject, tasks: list[Task], renderer: Renderer, options: Options, report: Reporter
) -> dict[str, SuiteResult]:
    """Generate for all tasks with one load of the model at most, then grade each and store it."""
    if not tasks:
        return {}
    context = _context_length(subject.checkpoint, tasks, options)
    slots = {task.suite.name: make_slots(task, options) for task in tasks}
    everything = [slot for some in slots.values() for slot in some]
    check = subject.files.check_stamps if subject.files else lambda: None
    cache = GenerationCache(options.results_dir, subject.identity, read=not options.force, check=check)
    label = f"{subject.checkpoint.name}: generating"
    try:
        with report.bar(label, sum(slot.n for slot in everything)) as advance:
            queue = Queue(
                renderer,
                cache,
                options.sampling,
                options.max_new_tokens,
                context,
                lambda slot: advance(slot.n),
            )
            queue.run(everything, lambda: load(subject, context, options))
        if subject.files is not None:
            subject.files.check_used()
    except ModelChangedError:
        cache.discard()
        raise
    finally:
        cache.close()
    return {
        task.suite.name: finish_task(task, slots[task.suite.name], queue.load_seconds, options, report)
        for task in tasks
    }


def _context_length(checkpoint: Checkpoint, tasks: list[Task], options: Options) -> int | None:
    """Tokens of prompt and response together, as few as possible: the KV cache is sized by it."""
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
