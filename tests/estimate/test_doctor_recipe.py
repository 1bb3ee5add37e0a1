"""`dipo doctor RECIPE` and `dipo recipes`: what they print, and their exit status."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from dipo_eval.errors import UserError
from dipo_openrlhf.cli import app
from dipo_openrlhf.recipe.files import recipe_names


def doctor(*arguments: str):
    return CliRunner().invoke(app, ["doctor", *arguments], catch_exceptions=False)


def test_the_command_shows_every_figure_with_its_arithmetic():
    result = doctor("math_qwen3_8b", "--prompts", "17398", "--response-tokens", "3000")
    assert result.exit_code == 0, result.output
    assert "8,190,735,360 parameters: 36 layers x 192,946,432 + two embeddings" in result.output
    assert re.search(r"optimizer state +11\.4   12 B x 8\.19e9 / 8 ranks \(ZeRO 3\)", result.output)
    assert "8,192 x 3,000 on average" in result.output
    assert "--response-tokens 3000" in result.output
    *_, verdict, machine = result.output.rstrip().splitlines()
    assert verdict.startswith("fits: sampling is the fullest")
    assert machine == "this machine has no NVIDIA device: only the estimate above"


def test_slower_attention_is_said_to_be_left_out():
    note = "attention without flash-attn is slower than that; by how much is not estimated"
    assert note in doctor("math_qwen3_8b+no_flash_attn").output
    assert note not in doctor("math_qwen3_8b").output


def test_the_placement_is_a_picture():
    words = ["math_qwen3_8b+async", "--vllm.num_engines", "3", "--watch.when", "during"]
    assert "  node 0  e0  e1  e2  a0  a1  a2  a3  w\n" in doctor(*words).output
    result = doctor("math_qwen3_4b+4x8", "--vllm.tensor_parallel_size", "4").output
    assert "  node 3  a24+e6  a25+e6  a26+e6  a27+e6  a28+e7  a29+e7  a30+e7  a31+e7\n" in result
    waiting = ["--run.nodes", "1", "--vllm.num_engines", "4", "--watch.when", "during"]
    assert "watcher waits in Ray's queue for 1 GPU" in doctor("math_qwen3_8b+async", *waiting).output


def test_what_does_not_fit_is_the_exit_status():
    result = doctor("math_qwen3_8b", "--gpu-memory-gib", "24", "--vllm.gpu_memory_utilization", "0.9")
    assert result.exit_code == 1
    assert "does not fit: update needs 43.3 GiB, 19.3 more than the 24.0 of a GPU" in result.output


def test_overrides_of_the_recipe_and_options_mix():
    plain = doctor("math_qwen3_4b").output
    more = doctor("math_qwen3_4b", "--train.max_tokens_per_gpu", "20480", "--tflops", "400").output
    assert "20,480 x 151,936" in more
    assert "20,480 x 151,936" not in plain
    assert "8 GPUs x 400 TFLOP/s" in more


def test_two_questions_at_once_are_refused(tmp_path):
    with pytest.raises(UserError, match="two questions"):
        doctor("math_qwen3_4b", "--rollouts", str(tmp_path / "rollouts.jsonl"))
    with pytest.raises(UserError, match="go with a RECIPE or --rollouts"):
        doctor("--dipo.alpha", "1")


def test_the_list_of_recipes():
    result = CliRunner().invoke(app, ["recipes"], catch_exceptions=False)
    assert result.exit_code == 0
    for name in [*recipe_names(), "+dapo", "+4x8", "+alpha_0.01", "Ablation [paper]"]:
        assert name in result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("tools_qwen25_3b")]
    assert line.split()[1:6] == ["Qwen/Qwen2.5-3B-Instruct", "function_call", "1", "x", "8"]


def test_the_machines_last_line_is_what_it_is_ready_for():
    result = CliRunner().invoke(app, ["doctor"], catch_exceptions=False)
    last = result.output.rstrip().splitlines()[-1]
    assert last.startswith(
        "ready for training on " if result.exit_code == 0 else "not ready for training on "
    )
