"""Finished runs of this project and of others, read and judged."""

from __future__ import annotations

import json
import random
import zipfile

import pytest
from typer.testing import CliRunner

from dipo_eval.errors import UserError
from dipo_openrlhf.cli import app
from dipo_openrlhf.compare.finished import read_finished
from dipo_openrlhf.compare.judge_finished import are_paths, contestants, finished_table, judge_finished


def lm_eval(folder, scores, filters=("none",), task="gsm8k", time="2026-01-01T00-00-00.000000"):
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"doc_id": i, "filter": name, "metrics": ["exact_match"], "exact_match": score, "resps": [["x"]]}
        for i, score in enumerate(scores)
        for name in filters
    ]
    path = folder / f"samples_{task}_{time}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def nemo(folder, rewards, repeats=1):
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"problem_idx": i, "reward": reward, "repeat": k, "model_response": "x"}
        for i, reward in enumerate(rewards)
        for k in range(repeats)
    ]
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "eval-20260225T143012Z-gsm8k.json").write_text("{}")


def inspect_log(folder, values, task="gsm8k"):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "2026-01-01_gsm8k.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({"eval": {"task": task}}))
        for i, value in enumerate(values):
            for epoch, one in enumerate(value if isinstance(value, list) else [value], 1):
                sample = {"id": i, "epoch": epoch, "scores": {"match": {"value": one}}}
                archive.writestr(f"samples/{i}_epoch_{epoch}.json", json.dumps(sample))
    return path


def test_lm_evals_samples_are_read_a_suite_a_filter(tmp_path):
    lm_eval(tmp_path, [1.0, 0.0, 1.0], ("strict-match", "flexible-extract"))
    found = read_finished(tmp_path)
    assert sorted(found) == ["gsm8k/flexible-extract", "gsm8k/strict-match"]
    assert found["gsm8k/strict-match"].scores == {"0": 1.0, "1": 0.0, "2": 1.0}


def test_of_several_lm_eval_files_the_newest_counts(tmp_path):
    lm_eval(tmp_path, [0.0, 0.0])
    lm_eval(tmp_path, [1.0, 1.0], time="2026-02-01T00-00-00.000000")
    assert read_finished(tmp_path)["gsm8k"].scores == {"0": 1.0, "1": 1.0}


def test_nemo_evaluators_repeats_are_averaged_and_the_bundle_names_the_suite(tmp_path):
    nemo(tmp_path, [1.0, 0.5], repeats=2)
    for path in (tmp_path, tmp_path / "results.jsonl", tmp_path / "eval-20260225T143012Z-gsm8k.json"):
        assert read_finished(path)["gsm8k"].scores == {"0": 1.0, "1": 0.5}


def test_inspects_letters_are_its_own_values_and_epochs_are_averaged(tmp_path):
    path = inspect_log(tmp_path, ["C", "I", "P", "N", 1, ["C", "I"]])
    scores = read_finished(path)["gsm8k"].scores
    assert scores == {"0": 1.0, "1": 0.0, "2": 0.5, "3": 0.0, "4": 1.0, "5": 0.5}


def test_a_tampered_log_is_one_line(tmp_path):
    big = tmp_path / "big.eval"
    with zipfile.ZipFile(big, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("samples/1_epoch_1.json", b" " * ((64 << 20) + 1))
    broken = tmp_path / "broken.eval"
    broken.write_bytes(b"PK\x03\x04 no zip")
    odd = tmp_path / "samples_x_1.jsonl"
    odd.write_text('{"doc_id": 1, "metrics": ["m"], "m": 7}\n')
    large = tmp_path / "samples_x_2.jsonl"
    large.write_text('{"doc_id": 1, "metrics": ["m"], "m": 1' + "0" * 400 + "}\n")
    cut = tmp_path / "cut.eval"
    content = bytearray(inspect_log(tmp_path / "sound", ["C"] * 50).read_bytes())
    content[60:90] = bytes(30)
    cut.write_bytes(content)
    for path, words in (
        (big, "has more than"),
        (broken, "is no log of Inspect's"),
        (odd, "m is 7: a score lies between 0 and 1"),
        (large, "a score lies between 0 and 1"),
        (cut, "cut.eval: "),
        (tmp_path / "none", "no such file or folder"),
    ):
        with pytest.raises(UserError, match=words) as error:
            read_finished(path)
        assert "\n" not in str(error.value)


def make_runs(tmp_path, shift, runs):
    rng = random.Random(0)
    hard = [rng.random() for _ in range(400)]
    words = []
    for name, more in (("grpo", 0.0), ("dipo", shift)):
        paths = []
        for seed in range(runs):
            rng = random.Random(f"{name}{seed}")
            folder = tmp_path / f"{name}-{seed}"
            nemo(folder, [float(rng.random() < min(1, one * 0.6 + 0.2 + more)) for one in hard])
            paths.append(str(folder))
        words.append(f"{name}={','.join(paths)}")
    return words


def test_several_runs_of_each_are_judged_over_seeds_and_items(tmp_path):
    found = judge_finished(contestants(make_runs(tmp_path, 0.15, 5)), 0.02, 0.05)[0]
    assert found.items == 400
    (pair,) = found.pairs
    assert (pair.a, pair.b, pair.verdict) == ("grpo", "dipo", "worse")
    assert pair.low < pair.difference < pair.high < 0
    assert "5 runs each: over seeds and items" in finished_table([found])


def test_one_run_of_each_is_judged_over_items_and_says_so(tmp_path):
    found = judge_finished(contestants(make_runs(tmp_path, 0.0, 1)), 0.02, 0.05)[0]
    assert found.pairs[0].verdict == "undecided"
    assert "says nothing of another seed" in finished_table([found])


def test_what_cannot_be_compared_is_one_line(tmp_path):
    lm_eval(tmp_path / "a", [1.0, 0.0])
    lm_eval(tmp_path / "b", [1.0, 0.0], task="math")
    with pytest.raises(UserError, match=r"no suite in common \(a: gsm8k; b: math\)"):
        judge_finished(contestants([str(tmp_path / "a"), str(tmp_path / "b")]), 0.02, 0.05)
    with pytest.raises(UserError, match="nothing to be compared with"):
        contestants([str(tmp_path / "a")])
    lm_eval(tmp_path / "c", [1.0, 0.0])
    with pytest.raises(UserError, match="as many runs as the others"):
        contestants([f"x={tmp_path / 'a'}", f"y={tmp_path / 'b'},{tmp_path / 'c'}"])


def test_names_of_others_cannot_steer_a_terminal_or_end_a_cell(tmp_path):
    for name in ("a", "b"):
        inspect_log(tmp_path / name, ["C", "I"], task="gsm8k\x1b[2J | x\n# y")
    what = contestants([f"\x1b[31mred={tmp_path / 'a'}", f"b|c={tmp_path / 'b'}"])
    table = finished_table(judge_finished(what, 0.02, 0.05))
    assert "\x1b" not in table
    assert r"gsm8k\u001b[2J \| x\n# y" in table
    assert r"| b\|c |" in table


def test_an_option_without_effect_on_finished_runs_is_refused(tmp_path):
    nemo(tmp_path / "a", [1.0, 0.0])
    nemo(tmp_path / "b", [1.0, 1.0])
    words = ["compare", str(tmp_path / "a"), str(tmp_path / "b")]
    for option in (
        ["--seeds", "3"],
        ["--out", "x"],
        ["--dry-run"],
        ["--workers", "2"],
        ["--stack", "openrlhf"],
    ):
        with pytest.raises(UserError, match=f"{option[0]}: does nothing with finished runs"):
            CliRunner().invoke(app, [*words, *option], catch_exceptions=False)
    assert CliRunner().invoke(app, [*words, "--margin", "0.1"], catch_exceptions=False).exit_code == 0


def test_a_shipped_comparison_is_one_whatever_a_folder_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quick").mkdir()
    (tmp_path / "run").mkdir()
    assert not are_paths(["quick"])
    assert are_paths(["run"])
    assert are_paths(["./quick"])
    assert are_paths(["quick", "run"])


def test_a_run_counts_once(tmp_path):
    for name in ("a1", "b1"):
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="is named twice; each path is one run"):
        contestants([f"a={tmp_path}/a1,{tmp_path}/a1", f"b={tmp_path}/b1,{tmp_path}/b1"])


def test_a_word_with_a_yaml_file_asks_for_a_comparison():
    assert not are_paths(["quick", "methods"])
    assert not are_paths(["mine.yaml", "other.yaml"])
    assert not are_paths([""])
