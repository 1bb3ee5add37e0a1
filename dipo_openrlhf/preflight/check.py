"""All of the preflight, in the order of what is most likely wrong, with what may be skipped."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.files.places import check_can_make_folder
from dipo_eval.runner.progress import Reporter
from dipo_openrlhf.preflight.golds import check_golds
from dipo_openrlhf.preflight.hub import check_hub_datasets, check_hub_model
from dipo_openrlhf.preflight.model import check_model, is_local
from dipo_openrlhf.preflight.prompts import (
    Reading,
    check_data_file,
    check_prompts,
    load_tokenizer,
    prompt_of,
    twice_templated,
)
from dipo_openrlhf.preflight.reward import (
    SAMPLES,
    check_reward,
    check_reward_url,
    has_environment,
    is_own_file,
)
from dipo_openrlhf.preflight.reward_server import addresses, check_servers, unanswered
from dipo_openrlhf.preflight.rows import Row, check_library_reads, data_sets, have_one_form, is_read_here
from dipo_openrlhf.preflight.suites import check_suites
from dipo_openrlhf.preflight.tasks import check_tasks
from dipo_openrlhf.recipe.defaults import TOOL_AGENT
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.record.provenance import prompts_hash
from dipo_openrlhf.record.user_cache import cache_dir

_UNIX_PATH = 107  # bytes of a socket's path: Linux, sockaddr_un
_SOCKET = len("/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store")


def check_start(recipe: Recipe, say: Callable[[str], None]) -> None:
    """Raise UserError, with key, file and row, for what would end the run, or make it learn nothing, after its start.

    `say` gets warnings. Prompts that were checked before, with the same model and lengths, are not read again.
    """
    check_places(recipe)
    check_ray_folder(recipe)
    check_suites(recipe)
    name = recipe.get("actor.model_name_or_path")
    check_model(name, recipe.get("data.max_len"))
    check_reward_url(recipe.get("reward.remote_url"), recipe.get("train.agent_func_path"))
    if not recipe.get("train.agent_func_path") and (problem := unanswered(recipe.get("reward.remote_url"))):
        raise UserError(problem)
    _check_split(recipe)
    if not is_local(name):
        check_hub_model(name)
    if not recipe.get("use_ms"):
        check_hub_datasets(recipe.get("data.prompt_dataset"))
    for warning in checkpoint_warnings(recipe):
        say(warning)
    check_data(recipe, say)


def checkpoint_warnings(recipe: Recipe) -> list[str]:
    """What is lost where a recipe keeps no checkpoints, or such as nobody can resume from."""
    if recipe.get("ckpt.save_steps") == -1:
        return ["warning: no ckpt.save_steps: no checkpoint is kept, nothing can be resumed or evaluated"]
    if not recipe.get("ckpt.save_hf"):
        if recipe.get("ckpt.disable_ds"):
            return [
                "warning: ckpt.save_hf is false and ckpt.disable_ds is set: no checkpoint is kept, nothing can be "
                "resumed or evaluated"
            ]
        return [
            "warning: ckpt.save_hf is false: a checkpoint can be resumed from and not evaluated, since it has no export; "
            f"the final model will be in {recipe.get('ckpt.output_dir')}: evaluate that with dipo eval"
        ]
    if recipe.get("ckpt.disable_ds"):
        return ["warning: ckpt.disable_ds: a checkpoint holds the export alone, and cannot be resumed from"]
    return []


def check_dry(recipe: Recipe, say: Callable[[str], None]) -> None:
    """As check_start, for a command that is only shown: what is not on this machine is named by `say` and not checked."""
    check_places(recipe)
    check_suites(recipe, here=False)
    check_reward_url(recipe.get("reward.remote_url"), recipe.get("train.agent_func_path"))
    _check_split(recipe)
    for warning in checkpoint_warnings(recipe):
        say(warning)
    name = recipe.get("actor.model_name_or_path")
    has_model = is_local(name) and Path(name).expanduser().exists()
    if has_model:
        check_model(name, recipe.get("data.max_len"))
    else:
        say(f"not on this machine, and not checked: actor.model_name_or_path: {name!r}")
    absent = [
        one
        for one in recipe.get("data.prompt_dataset").split(",")
        if not Path(one.strip()).expanduser().exists()
    ]
    if absent:
        say(f"not on this machine, and not checked: data.prompt_dataset: {absent[0]!r}")
        return
    check_data(recipe, say, has_model)


def check_places(recipe: Recipe) -> None:
    """Where the run writes. Raises UserError."""
    check_can_make_folder(recipe.run_dir, "run.dir")
    for key in ("ckpt.path", "ckpt.output_dir", "logger.tensorboard_dir"):
        if folder := recipe.get(key):
            check_can_make_folder(Path(folder).expanduser(), key)
    _check_nothing_lost(recipe)


def _check_nothing_lost(recipe: Recipe) -> None:
    """Raise UserError where the run would write over the model that it starts from, or over another."""
    model, run_dir = Path(recipe.get("actor.model_name_or_path")).expanduser(), recipe.run_dir.resolve()
    final = Path(recipe.get("ckpt.output_dir"))
    for key, folder in (
        ("run.dir", run_dir),
        ("ckpt.path", Path(recipe.get("ckpt.path"))),
        ("ckpt.output_dir", final),
    ):
        if model.is_dir() and folder.resolve() == model.resolve():
            raise UserError(
                f"{recipe.place(key)}: {key}: {str(folder)!r}: is the folder of actor.model_name_or_path, which the run "
                "would write over: name another"
            )
    other = not final.is_relative_to(run_dir) and not (run_dir / "recipe.yaml").exists()
    if other and (final / "config.json").exists():
        raise UserError(
            f"{recipe.place('ckpt.output_dir')}: ckpt.output_dir: {str(final)!r}: holds a model already, which the run "
            "would write over: name another folder"
        )


def check_ray_folder(recipe: Recipe) -> None:
    """Of a Ray that the run starts itself: ray/_private/node.py, Node makes sockets in it. Raises UserError."""
    if recipe.run.ray == "cluster" or os.environ.get("RAY_ADDRESS"):
        return
    folder = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray"
    remedy = "set RAY_TMPDIR to a short folder of your own, such as /tmp/$USER"
    if len(os.fsencode(folder)) + _SOCKET > _UNIX_PATH:
        raise UserError(f"{str(folder)!r}: is too long for the sockets that Ray makes in it: {remedy}")
    try:
        check_can_make_folder(folder, "Ray's folder")
    except UserError as error:
        raise UserError(f"{str(error).rpartition('; ')[0]}; {remedy}") from None


def _check_split(recipe: Recipe) -> None:
    """The loader of files knows `train` alone; another split of a hub's set is taken where it has one."""
    split, names = recipe.get("data.prompt_split"), recipe.get("data.prompt_dataset")
    if split != "train" and any(
        Path(one.strip()).suffix in (".json", ".jsonl", ".parquet") for one in names.split(",")
    ):
        place = recipe.where.get("data.prompt_split", recipe.source)
        raise UserError(
            f"{place}: data.prompt_split: {split!r}: a file has the split train alone: leave it out"
        )
    if "[" in split:
        place = recipe.where.get("data.prompt_split", recipe.source)
        raise UserError(
            f"{place}: data.prompt_split: {split!r}: OpenRLHF takes a name; data.max_samples takes a part"
        )
    evaluated = recipe.get("eval.dataset")
    if (
        evaluated
        and Path(evaluated).suffix in (".json", ".jsonl", ".parquet")
        and not Path(evaluated).is_file()
    ):
        place = recipe.where.get("eval.dataset", recipe.source)
        raise UserError(f"{place}: eval.dataset: {evaluated!r}: no such file")


def check_data(recipe: Recipe, say: Callable[[str], None], has_model: bool = True) -> None:
    """Rows, prompts, labels, and the reward on a few of them. Raises UserError.

    has_model: its tokenizer can be loaded; otherwise the prompts' template and length are not checked.
    """
    reading, url = Reading.of(recipe.get), recipe.get("reward.remote_url")
    names = recipe.get("data.prompt_dataset")
    key = _key(reading, names, url)
    is_known = bool(key) and _known(key).exists()
    limit = SAMPLES if is_known else reading.max_samples
    # ModelScope's sets are left to it.
    split = None if recipe.get("use_ms") else recipe.get("data.prompt_split")
    rows = check_data_file(
        names, reading.input_key, reading.label_key, limit, not reading.apply_chat_template, split
    )
    agent = recipe.get("train.agent_func_path")
    if not agent:
        if not is_known and (warning := check_golds(rows, url, reading.label_key)):
            say(f"warning: {warning}")
        if is_own_file(url):
            check_reward(url, _samples(rows, reading, has_model), recipe.dipo.correct_from)
        elif addresses(url):
            _check_servers(recipe, _samples(rows, reading, has_model), say)
    elif agent == str(TOOL_AGENT) or has_environment(agent):
        tokenizer = load_tokenizer(reading.model) if has_model else None
        check_tasks(rows, reading, tokenizer, None if agent == str(TOOL_AGENT) else agent)
    if is_known:
        return
    cut_off = len(rows) >= reading.max_samples  # the library reads what comes after them too
    if not recipe.get("use_ms") and (cut_off or not have_one_form(rows)):
        check_library_reads(names, recipe.get("data.prompt_probs"), recipe.get("data.prompt_split"), rows)
    _check_evaluated(recipe, reading, has_model)
    if has_model:
        with (
            Reporter(sys.stderr.isatty()) as progress,
            progress.bar("checking the prompts", len(rows)) as advance,
        ):
            check_prompts(rows, reading, advance)
        if warning := twice_templated(rows, reading):
            say(f"warning: {warning}")
    count, batch = min(len(rows), reading.max_samples), recipe.get("rollout.batch_size")
    if 0 < count < batch:
        say(
            f"warning: {count} prompts are fewer than rollout.batch_size, {batch}: each episode is one smaller step"
        )
    if key and rows and has_model:
        with contextlib.suppress(OSError):  # then it is checked again
            _known(key).parent.mkdir(parents=True, exist_ok=True)
            _known(key).touch()


def _check_servers(
    recipe: Recipe, samples: list[tuple[str, str, str, Any]], say: Callable[[str], None]
) -> None:
    url = recipe.get("reward.remote_url")
    if problem := unanswered(url):  # an error of check_start
        say(f"not checked: {problem}")
        return
    check_servers(url, samples, recipe.dipo.correct_from)


def _check_evaluated(recipe: Recipe, reading: Reading, has_model: bool) -> None:
    """The rows of eval.dataset, which OpenRLHF loads with the prompts. Raises UserError."""
    names = recipe.get("eval.dataset")
    if not names or recipe.get("use_ms") or not all(map(is_read_here, names.split(","))):
        return
    try:
        rows = check_data_file(
            names, reading.input_key, reading.label_key, None, not reading.apply_chat_template
        )
        if has_model:
            check_prompts(rows, reading)
    except UserError as error:
        raise UserError(f"eval.dataset: {str(error).removeprefix('data.prompt_dataset: ')}") from None


def _samples(rows: list[Row], reading: Reading, has_model: bool) -> list[tuple[str, str, str, Any]]:
    """A response to each of the first rows: half of them the label itself, half no answer."""
    if not rows:
        return []
    tokenizer, found = load_tokenizer(reading.model) if has_model else None, []
    for number, (place, row) in enumerate(rows[:SAMPLES]):
        label = row[reading.label_key] if reading.label_key else ""
        prompt = prompt_of(tokenizer, reading, place, row) if has_model else str(row[reading.input_key])
        answer = f"The answer is \\boxed{{{label}}}." if number % 2 == 0 else "I do not know."
        found.append((place, prompt + answer, prompt, label))
    return found


def _known(key: str) -> Path:
    return cache_dir() / "preflight" / key


def _key(reading: Reading, names: str, url: str | None) -> str:
    """Identity of all that was checked, by content; empty where a part of it is not on this machine."""
    model = Path(reading.model).expanduser()
    if not model.is_dir() or not all(map(is_read_here, data_sets(names))):
        return ""
    files = [path for path in sorted(model.iterdir()) if path.is_file() and path.stat().st_size < 32 << 20]
    digest = hashlib.sha256(json.dumps([asdict(reading), prompts_hash(names), url]).encode())
    for path in (*files, *sorted(Path(__file__).parent.glob("*.py"))):
        if path.suffix not in (".safetensors", ".bin"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:32]
