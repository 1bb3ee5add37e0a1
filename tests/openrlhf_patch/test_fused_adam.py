"""The optimizer in the place of DeepSpeed's FusedAdam: its mathematics, its state, and DeepSpeed itself with it."""

from __future__ import annotations

import copy
import io
import json
import math
import socket
import subprocess
import sys

import pytest
import torch
from deepspeed.runtime.zero.offload_states import offload_adam_states, reload_adam_states
from hypothesis import given, settings
from hypothesis import strategies as st

from dipo_openrlhf.openrlhf_patch.fused_adam import FusedAdam

FLOATS = st.floats(-2, 2, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3)


def by_hand(weight: float, gradients: list[float], lr: float, decay: float, decoupled: bool) -> float:
    """One weight through Adam, in double precision, as csrc/adam/multi_tensor_adam.cu of DeepSpeed writes it."""
    beta1, beta2, eps, m, v = 0.9, 0.95, 1e-8, 0.0, 0.0
    for step, gradient in enumerate(gradients, 1):
        g = gradient if decoupled else gradient + decay * weight
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        update = m / (1 - beta1**step) / (math.sqrt(v / (1 - beta2**step)) + eps)
        weight -= lr * (update + (decay * weight if decoupled else 0.0))
    return weight


@settings(max_examples=60)
@given(
    weight=FLOATS,
    gradients=st.lists(FLOATS, min_size=1, max_size=6),
    lr=st.floats(1e-4, 1e-2),
    decay=st.sampled_from([0.0, 0.01, 0.1]),
    decoupled=st.booleans(),
    fused=st.booleans(),
)
def test_the_update_is_that_of_deepspeeds_kernel(weight, gradients, lr, decay, decoupled, fused):
    """torch's fused kernel has a CPU version too: both are compared."""
    parameter = torch.nn.Parameter(torch.tensor([weight]))
    optimizer = FusedAdam(
        [parameter], lr=lr, betas=[0.9, 0.95], eps=1e-8, adam_w_mode=decoupled, weight_decay=decay
    )
    for group in optimizer.param_groups:
        group["fused"] = fused
    for gradient in gradients:
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
    assert parameter.item() == pytest.approx(by_hand(weight, gradients, lr, decay, decoupled), abs=2e-6)


def test_what_torch_cannot_do_is_refused():
    for options in ({"amsgrad": True}, {"bias_correction": False}, {"set_grad_none": False}):
        with pytest.raises(ValueError, match="not supported"):
            FusedAdam([torch.nn.Parameter(torch.ones(2))], **options)


def test_a_state_of_deepspeeds_own_class_is_continued():
    """Its groups name no kernel and no kind of decay, and its step is an int."""

    def steps(optimizer: FusedAdam, parameter: torch.nn.Parameter, count: int) -> None:
        for number in range(count):
            parameter.grad = torch.full((3,), 0.1 * (number + 1))
            optimizer.step()

    def new() -> tuple[torch.nn.Parameter, FusedAdam]:
        parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
        return parameter, FusedAdam([parameter], lr=0.01, weight_decay=0.1)

    parameter, optimizer = new()
    steps(optimizer, parameter, 2)
    saved = copy.deepcopy(optimizer.state_dict())
    theirs = {"lr", "betas", "eps", "weight_decay", "params"}
    saved["param_groups"] = [
        {**{k: v for k, v in group.items() if k in theirs}, "bias_correction": True}
        for group in saved["param_groups"]
    ]
    saved["state"][0]["step"] = 2
    assert set(saved["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}
    other, loaded = new()
    other.data.copy_(parameter.data)
    loaded.load_state_dict(saved)
    copied = copy.deepcopy(loaded)
    assert copied.param_groups[0]["decoupled_weight_decay"] is True
    steps(optimizer, parameter, 3)
    steps(loaded, other, 3)
    assert torch.equal(parameter, other)


def test_moments_saved_asleep_sleep_again_after_a_resume():
    """A checkpoint's buffers in CPU memory are not loaded, to the GPU: the moments would "sleep" there."""
    parameter = torch.nn.Parameter(torch.ones(4))
    optimizer = FusedAdam([parameter])
    parameter.grad = torch.ones(4)
    optimizer.step()
    offload_adam_states(optimizer, "cpu")
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    assert any(name.endswith("_offload_buffer") for name in saved["state"][0])
    other = torch.nn.Parameter(parameter.detach().clone())
    resumed = FusedAdam([other])
    resumed.load_state_dict(saved)
    assert set(resumed.state[other]) == {"step", "exp_avg", "exp_avg_sq"}
    assert torch.equal(resumed.state[other]["exp_avg"], optimizer.state[parameter]["exp_avg"])
    offload_adam_states(resumed, "cpu")
    reload_adam_states(resumed, "cpu")
    for one, its in ((parameter, optimizer), (other, resumed)):
        one.grad = torch.ones(4)
        its.step()
    assert torch.equal(parameter, other)


# DeepSpeed's ZeRO-3 and OpenRLHF's own configuration, sleep and wake-up: six steps in several ways, from equal weights.
STEPS = """
import json, os, sys, tempfile
from dipo_openrlhf.openrlhf_patch.cpu import changes as cpu
os.environ.update(cpu.environment(1))
cpu.install()
import deepspeed, torch
from openrlhf.utils.deepspeed import deepspeed_utils
from dipo_openrlhf.openrlhf_patch import fused_adam
os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=sys.argv[1])
deepspeed.init_distributed("gloo")
fused_adam.install()
fused_adam.install()

def engine(dtype, **more):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    params = {"lr": 1e-2, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1, **more}
    config = deepspeed_utils.get_train_ds_config(False, adam_offload=False, stage=3, param_dtype=dtype, max_norm=1.0,
        zpg=1, optim_config={"type": "AdamW", "params": params})
    config |= {"train_micro_batch_size_per_gpu": 4, "train_batch_size": 4}
    zero = config["zero_optimization"]
    config["zero_optimization"] = {name: value for name, value in zero.items() if value != "auto"}
    groups = deepspeed_utils.get_optimizer_grouped_parameters(model, 0.1)
    return deepspeed.initialize(model=model, config=config, model_parameters=groups)[0]

def train(engine, dtype, steps, sleep=False):
    for step in steps:
        if sleep:
            deepspeed_utils.reload_deepspeed_states(engine)
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(4, 8, generator=generator).to(torch.bfloat16 if dtype == "bf16" else torch.float32)
        engine.backward(engine(x).float().square().mean())
        engine.step()
        if sleep:
            deepspeed_utils.offload_deepspeed_states(engine)
    if sleep:
        deepspeed_utils.reload_deepspeed_states(engine)
    return engine

def result(engine):
    zero = engine.optimizer
    names = ("step", "exp_avg", "exp_avg_sq")
    state = [each[name] for each in zero.optimizer.state.values() for name in names]
    return [t.detach().clone() for t in [*zero.fp32_partitioned_groups_flat, *map(torch.as_tensor, state)]]

equal = lambda one, other: len(one) == len(other) and all(map(torch.equal, one, other))
found = {}
for dtype in ("bf16", "fp32"):
    plain = train(engine(dtype), dtype, range(6))
    wanted = result(plain)
    found[f"{dtype} class"] = type(plain.optimizer.optimizer) is deepspeed.ops.adam.fused_adam.FusedAdam
    found[f"{dtype} torch_adam"] = equal(wanted, result(train(engine(dtype, torch_adam=True), dtype, range(6))))
    found[f"{dtype} sleep"] = equal(wanted, result(train(engine(dtype), dtype, range(6), sleep=True)))
    with tempfile.TemporaryDirectory() as folder:
        first = train(engine(dtype), dtype, range(3), sleep=True)
        first.save_checkpoint(folder, "three")
        again = engine(dtype)
        again.load_checkpoint(folder, "three")
        found[f"{dtype} resume"] = equal(wanted, result(train(again, dtype, range(3, 6), sleep=True)))
    moved = engine(dtype)
    found[f"{dtype} trained"] = not equal(result(moved)[:1], wanted[:1])
print("found " + json.dumps(found))
"""


@pytest.mark.timeout(300)
def test_deepspeed_sleeps_wakes_saves_and_loads_it_without_a_build_and_bit_by_bit():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-c", STEPS, str(port)], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("found ")]
    found = json.loads(line.removeprefix("found "))
    assert len(found) == 10
    assert all(found.values()), found
