"""All suites by one `dipo eval`, and by lm-eval, bfcl-eval and evalplus one after another: wall time, side by side.

    python benchmarks/evaluation.py [--limit N] [--max-new-tokens N] [--model DIR] [--out FILE]

Both sides: the same items, model, float32, greedy, threads, limit of tokens a response, and vLLM on this machine. Every
command loads the model itself; start and imports count, and nothing is cached from an earlier run. Ours generates and
grades all suites in one command. The others, each as its users run it:

  lm-eval     all math suites in one command, all prompts at once; then its scoring
  bfcl-eval   a server (its start counts), 100 requests at a time; then its evaluation
  evalplus    for each data set: codegen, which asks greedily one problem at a time; then evaluate

Before the clock starts: the model is made, the tools' packages are installed in a folder that is removed again, and
one `dipo eval` of one problem warms the file cache for both sides. evalplus.evaluate runs what the model wrote,
guarded by evalplus alone: name no model whose code you would not run.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from common import DATA_DIR, DIPO, command, machine, save
from evaluation_run import Part, Plan, environment, install, run
from evaluation_tools import CODE, bfcl, evalplus, lm_eval

from dipo_eval.engines.base import TOO_LONG
from dipo_eval.errors import UserError
from dipo_eval.harness.lm_eval import TASKS, task_name
from dipo_eval.results.store import read_samples
from dipo_eval.suites import get_suites
from dipo_eval.workers.cores import usable_cores
from dipo_openrlhf.quickstart.smollm2 import smollm2_model
from dipo_openrlhf.record.user_cache import cache_dir

TARGET = 0.60
SEED = 0  # of the items; lm-eval's arithmetic task is generated with this one
SUITES = "gsm8k,math500,aime24,aime25,amc23,olympiadbench,arithmetic-control,bfcl,humaneval+,mbpp+"
COLUMNS = ("wall", "load", "generate", "grade", "idle", "prompts", "prompt_tokens", "response_tokens")


def ours(plan: Plan, limit: int) -> Part:
    """All suites in one command, without earlier results."""
    results = plan.work / "results"
    wall = run(_dipo_eval(plan, results, list(plan.items), limit, plan.max_tokens), environment(plan),
               plan.work / "dipo-eval.log")  # fmt: skip
    found = [json.loads(path.read_text(encoding="utf-8")) for path in results.glob("*/*/*/results.json")]
    rows = [row for path in results.glob("*/*/*/results.json") for row in read_samples(path.parent)]
    if {one["suite"] for one in found} != set(plan.items):
        raise SystemExit(f"dipo eval has no results of some suites; see {plan.work / 'dipo-eval.log'}")
    # A prompt that fills the context never reaches the engine.
    asked = [row.get("requests", 1) - (row["finish_reason"] == TOO_LONG) for row in rows]
    prompt_tokens = sum(row["prompt_tokens"] for row, count in zip(rows, asked, strict=True) if count)
    return Part(
        "dipo eval, all suites",
        wall,
        found[0]["seconds"]["load"],
        max(one["seconds"]["generate"] for one in found),
        sum(one["seconds"]["grade"] for one in found),
        sum(asked),
        prompt_tokens if max(asked) <= 1 else None,  # a conversation's later prompts are not stored
        sum(row["response_tokens"] for row in rows),
        refused=sum(row["finish_reason"] == TOO_LONG for row in rows),
    )


def _dipo_eval(plan: Plan, results: Path, suites: Sequence[str], limit: int, max_tokens: int) -> list[str]:
    return [
        *DIPO, "eval", str(plan.model), "--suites", ",".join(suites),
        "--results", str(results), "--limit", str(limit), "--seed", str(SEED), "--max-new-tokens", str(max_tokens),
        "--max-model-len", str(plan.context), "--dtype", "float32",
    ]  # fmt: skip


def compare(plan: Plan, limit: int) -> tuple[Part, list[Part]]:
    """Both sides, ours first. Logs each step on standard error."""
    _log("installing the tools' packages and warming up (not timed)")
    install(plan)
    warm = _dipo_eval(plan, plan.work / "warm", ["arithmetic-control"], 1, 1)
    run(warm, environment(plan), plan.work / "warm-up.log")
    _log("dipo eval")
    mine = ours(plan, limit)
    theirs = []
    for tool in (lm_eval, bfcl, evalplus):
        _log(tool.__name__.replace("_", "-"))
        theirs += tool(plan)
    return mine, theirs


def table(mine: Part, theirs: Sequence[Part]) -> list[str]:
    """The lines of the table, and below it the ratio."""
    sums = {name: _sum(getattr(part, name) for part in theirs) for name in COLUMNS}
    whole = Part("one after another", **sums)
    heads = ("wall s", "load", "generate", "grade", "idle", "prompts", "tokens in", "tokens out")
    lines = [f"{'command':<29}" + "".join(f"{head:>11}" for head in heads)]
    for part in (mine, *theirs, whole):
        lines.append(f"{part.name:<29}" + "".join(_cell(getattr(part, name)) for name in COLUMNS))
    lines.append("")
    lines.append(_ratio("ours / one after another", mine.wall, whole.wall))
    if whole.idle >= 1:
        lines.append(_ratio("the same without idle", mine.wall - mine.idle, whole.wall - whole.idle))
    refused = sum(part.refused for part in theirs)
    if mine.refused or refused:
        lines.append(
            f"items that ended because a prompt fills the context: ours {mine.refused}, theirs {refused}"
        )
    lines += [
        "wall: the whole command; load, generate, grade: of it, as measured inside (lm-eval: what it scores after",
        "generating is not split off). idle: from the last result written to the end of the process; evalplus.evaluate's",
        "watcher sleeps 20 s. Tokens differ: evalplus has prompts and stop texts of its own.",
    ]
    return lines


def _sum(values: Any) -> Any:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _cell(value: float | None) -> str:
    if value is None:
        return f"{'-':>11}"
    return f"{value:>11,}" if isinstance(value, int) else f"{value:>11,.1f}"


def _ratio(name: str, part: float, whole: float) -> str:
    verdict = "within" if part <= TARGET * whole else "ABOVE"
    return f"{name}: {part:.1f} s / {whole:.1f} s = {part / whole:.1%}, {verdict} the target of {TARGET:.0%}"


def main(
    model: Annotated[Path | None, typer.Option(help="Default: SmolLM2-135M-Instruct, made here.")] = None,
    limit: Annotated[int, typer.Option(help="Items a suite.", min=2)] = 20,  # bfcl-eval takes a deviation
    max_new_tokens: int = 256,
    max_model_len: Annotated[int, typer.Option(help="Context; evalplus has 2048, fixed.")] = 8192,
    suites: str = SUITES,
    data_dir: Path = DATA_DIR,
    work: Annotated[Path | None, typer.Option(help="A new folder for logs and results, kept.")] = None,
    out: Path | None = None,
) -> None:
    """Print the table; exit status 1 where the ratio is above the target."""
    names = suites.split(",")
    for name in names:
        if name not in (*CODE, "bfcl") and not (TASKS / f"{task_name(name)}.yaml").is_file():
            raise SystemExit(f"--suites: no separate tool here runs {name!r}; choose from {SUITES},minerva")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))  # so that commands are ended too
    folder = (work or Path(tempfile.mkdtemp(prefix="dipo-benchmark-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise SystemExit(f"{folder}: is not empty; name a new folder with --work")
    try:
        items = {suite.name: suite.load(data_dir.resolve(), limit, SEED) for suite in get_suites(names)}
        chosen = (model or smollm2_model(cache_dir())).resolve()
        plan = Plan(chosen, folder, data_dir.resolve(), items, max_new_tokens, max_model_len)
        mine, theirs = compare(plan, limit)
    except UserError as error:
        raise SystemExit(str(error)) from error
    if not work:  # after an error the logs stay
        shutil.rmtree(folder)
    settings = f"float32, greedy, at most {max_new_tokens} new tokens, context {max_model_len:,}"
    print(f"{machine()}; {chosen.name}, {settings}")
    print("items: " + ", ".join(f"{name} {len(each)}" for name, each in items.items()))
    print("\n".join(table(mine, theirs)))
    ratio = mine.wall / sum(part.wall for part in theirs)
    report = {
        "settings": {
            "model": chosen.name, "limit": limit, "max_new_tokens": max_new_tokens, "context": max_model_len,
            "seed": SEED, "cores": usable_cores(), "machine": machine(),
            "items": {name: [item.id for item in each] for name, each in items.items()},
        },
        "ours": asdict(mine),
        "theirs": [asdict(part) for part in theirs],
        "ratio": ratio,
    }  # fmt: skip
    save(out, report)
    raise SystemExit(ratio > TARGET)


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    command(main, __doc__)
