"""What a method and a device imply for OpenRLHF's arguments, unless the recipe sets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from dipo_eval.engines.device import is_cpu_build
from dipo_openrlhf.algorithm import methods

_LOSS_AGG_MODE = {
    "token_mean": "token-mean",
    "response_mean": "seq-mean-token-mean",
    "constant": "token-mean",  # with advantages scaled to the constant: experience_maker.py
}


def method_defaults(method: str) -> dict[str, Any]:
    """OpenRLHF's arguments that `dipo.method` stands for, from the method's file."""
    found = methods.get(method)
    return {
        "algo.advantage.estimator": found.estimator,
        "algo.kl.init_coef": 0.0,
        "actor.eps_clip_low_high": [found.clip_low, found.clip_high],
        "actor.loss_agg_mode": _LOSS_AGG_MODE[found.reduction],
    }


LOSS_TYPE = "actor.policy_loss_type"
# Of OpenRLHF's arguments with a loss type whose ratio is on another scale than PPO's, which the method's clip is for.
_LOSS_DEFAULTS: dict[str, dict[str, Any]] = {
    # arXiv 2507.18071, section 5.1: clip 3e-4 / 4e-4 on the ratio of a response; a mean of responses, equation 5
    "gspo": {"actor.eps_clip_low_high": [3e-4, 4e-4], "actor.loss_agg_mode": "seq-mean-token-mean"},
    # arXiv 2506.13585 has no lower bound and gives no upper one; TRL's index of papers has 5, 1 + 4, for ScaleRL, arXiv
    # 2510.13786
    "cispo": {"actor.eps_clip_low_high": [1.0, 4.0]},
}


def loss_defaults(openrlhf: dict[str, Any]) -> dict[str, Any]:
    """What `actor.policy_loss_type` implies in the place of the method's; nothing for ppo."""
    return _LOSS_DEFAULTS.get(openrlhf.get(LOSS_TYPE, ""), {})


def async_defaults(openrlhf: dict[str, Any]) -> dict[str, Any]:
    """Samples of an older policy need OpenRLHF's correction, and its engine's log-probabilities come with it alone."""
    return {"algo.advantage.is_correction_level": "token"} if openrlhf.get("train.async_enable") else {}


REWARDS = Path(__file__).parent.parent / "rewards"
TOOL_AGENT = REWARDS / "tool_agent.py"

CPU_DEFAULTS: dict[str, Any] = {
    "ds.attn_implementation": "sdpa",
    "ds.param_dtype": "fp32",
    "vllm.sync_backend": "gloo",
    "vllm.enforce_eager": True,
    "vllm.num_engines": 1,
    "actor.num_gpus_per_node": 1,
    "ref.num_gpus_per_node": 1,
}


class Times(NamedTuple):
    """Seconds: what `run` has where the recipe is silent."""

    start_timeout: int
    save_before: int


CPU_TIMES = Times(start_timeout=900, save_before=300)
GPU_TIMES = Times(
    start_timeout=3600, save_before=1800
)  # a download and a compilation; a step and a checkpoint

COMMON_DEFAULTS: dict[str, Any] = {
    "data.apply_chat_template": True,
    "data.label_key": "label",
    "ckpt.save_hf": True,
    "ckpt.best_metric_key": "none",
    "ckpt.max_num": 3,
}


def on_cpu(device: str) -> bool:
    """Whether a run with this `run.device` uses the CPU changes; auto: without a GPU, or in the CPU environment."""
    if device == "auto":
        return is_cpu_build() or not any(Path("/dev").glob("nvidia[0-9]*"))
    return device == "cpu"


def add_defaults(openrlhf: dict[str, Any], where: dict[str, str], method: str, cpu: bool) -> None:
    """Fill in what the recipe leaves open, in place."""
    for reason, values in (
        (f"default with {LOSS_TYPE} {openrlhf.get(LOSS_TYPE)}", loss_defaults(openrlhf)),
        (f"default of dipo.method {method}", method_defaults(method)),
        ("default with train.async_enable", async_defaults(openrlhf)),
        ("default on CPU", CPU_DEFAULTS if cpu else {}),
        ("default of this project", COMMON_DEFAULTS),
    ):
        for key, value in values.items():
            if key not in openrlhf:
                openrlhf[key] = value
                where.setdefault(key, reason)


def _absolute(name: str) -> str:
    """A file or folder that is here; anything else as it is."""
    path = Path(name).expanduser()
    return str(path.resolve()) if name and path.exists() else name


def add_paths(openrlhf: dict[str, Any], run_dir: Path) -> None:
    """Folders of the run and the default reward, in place; absolute, since Ray's workers have another working folder."""
    if openrlhf.get("train.agent_func_path") == TOOL_AGENT.stem:
        openrlhf["train.agent_func_path"] = str(TOOL_AGENT)
    if not openrlhf.get("train.agent_func_path"):
        named = openrlhf.setdefault("reward.remote_url", "math")
        if (own := REWARDS / f"{named}.py").is_file():
            openrlhf["reward.remote_url"] = str(own)
    for key, name in (("ckpt.path", "ckpt"), ("ckpt.output_dir", "final")):
        openrlhf[key] = openrlhf.get(key) or str(run_dir / name)
    for key in (
        "actor.model_name_or_path", "data.prompt_dataset", "eval.dataset", "reward.remote_url", "train.agent_func_path",
    ):  # fmt: skip
        value = openrlhf.get(key)
        if isinstance(value, str) and value:
            openrlhf[key] = ",".join(_absolute(one.strip()) for one in value.split(","))
    for key in ("ckpt.path", "ckpt.output_dir"):
        openrlhf[key] = str(Path(openrlhf[key]).expanduser().resolve())
