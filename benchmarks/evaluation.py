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

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evaluation_run import Part, Plan, environment, install, run
from evaluation_tools import CODE, bfcl, evalplus, lm_eval

from dipo_eval.engines.base import TOO_LONG
from dipo_eval.engines.device import usable_cores
from dipo_eval.errors import UserError
from dipo_eval.harness.lm_eval import TASKS, task_name
from dipo_eval.results.store import read_samples
from dipo_eval.suites import get_suites

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
        str(Path(sys.executable).with_name("dipo")), "eval", str(plan.model), "--suites", ",".join(suites),
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


def main() -> None:
    """Print the table; exit status 1 where the ratio is above the target."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))  # so that commands are ended too
    work = (options.work or Path(tempfile.mkdtemp(prefix="dipo-benchmark-"))).resolve()
    work.mkdir(parents=True, exist_ok=True)
    if any(work.iterdir()):
        raise SystemExit(f"{work}: is not empty; name a new folder with --work")
    try:
        plan = _plan(options, work)
        mine, theirs = compare(plan, options.limit)
    except UserError as error:
        raise SystemExit(str(error)) from error
    if not options.work:  # after an error the logs stay
        shutil.rmtree(work)
    print(
        f"{platform.machine()}, {usable_cores()} cores, Python {platform.python_version()}; {plan.model.name}, "
        f"float32, greedy, at most {plan.max_tokens} new tokens, context {plan.context:,}"
    )
    print("items: " + ", ".join(f"{name} {len(items)}" for name, items in plan.items.items()))
    print("\n".join(table(mine, theirs)))
    if options.out:
        report = {
            "settings": {
                "model": plan.model.name, "limit": options.limit, "max_new_tokens": plan.max_tokens,
                "context": plan.context, "seed": SEED, "cores": usable_cores(),
                "machine": platform.machine(), "python": platform.python_version(),
                "items": {name: [item.id for item in items] for name, items in plan.items.items()},
            },
            "ours": asdict(mine),
            "theirs": [asdict(part) for part in theirs],
            "ratio": mine.wall / sum(part.wall for part in theirs),
        }  # fmt: skip
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    raise SystemExit(mine.wall > TARGET * sum(part.wall for part in theirs))


def _options() -> argparse.Namespace:
    summary, _, details = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", type=Path, help="a model folder (default: SmolLM2-135M-Instruct, made here)"
    )
    parser.add_argument("--limit", type=int, default=20, help="items a suite (default: 20)")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="of one response (default: 256)")
    parser.add_argument(
        "--max-model-len", type=int, default=8192, help="context (default: 8192); evalplus has 2048, fixed"
    )
    parser.add_argument("--suites", default=SUITES, help=f"with commas (default: {SUITES})")
    parser.add_argument("--data-dir", type=Path, help="the suites' files (default: DIPO_DATA_DIR)")
    parser.add_argument(
        "--work", type=Path, help="a new folder for logs and results (default: removed at the end)"
    )
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    if options.limit < 2:
        parser.error("--limit must be 2 or more: bfcl-eval computes a standard deviation of the latencies")
    for name in options.suites.split(","):
        if name not in (*CODE, "bfcl") and not (TASKS / f"{task_name(name)}.yaml").is_file():
            parser.error(f"--suites: no separate tool here runs {name!r}; choose from {SUITES},minerva")
    return options


def _plan(options: argparse.Namespace, work: Path) -> Plan:
    default = os.environ.get("DIPO_DATA_DIR") or Path(__file__).resolve().parents[2] / "shared" / "data"
    data_dir = Path(options.data_dir or default).resolve()
    items = {
        suite.name: suite.load(data_dir, options.limit, SEED)
        for suite in get_suites(options.suites.split(","))
    }
    return Plan(_model(options), work, data_dir, items, options.max_new_tokens, options.max_model_len)


def _model(options: argparse.Namespace) -> Path:
    if options.model:
        return Path(options.model).resolve()
    from dipo_openrlhf.quickstart.cache import cache_dir
    from dipo_openrlhf.quickstart.smollm2 import smollm2_model

    return smollm2_model(cache_dir())


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
