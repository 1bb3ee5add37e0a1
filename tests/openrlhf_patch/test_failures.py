"""What a user reads when a run fails."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from dipo_eval.errors import UserError
from dipo_openrlhf.openrlhf_patch.failures import explain, may_restart


class RayLikeError(Exception):
    """Ray's RayTaskError keeps the worker's exception in `cause`."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"many\nlines\nof traceback\n{cause}")
        self.cause = cause


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError(
            "[enforce fail at inline_container.cc:783] . PytorchStreamWriter failed writing file data/3"
        ),
        RayLikeError(RuntimeError("SafetensorError: I/O error: No space left on device (os error 28)")),
    ],
)
def test_a_full_disk_is_recognised(error):
    assert explain(error).startswith("the disk is full")


@pytest.mark.parametrize(
    ("argv", "named", "without_effect"),
    [
        (["--train.dynamic_batch_enable"], "train.max_tokens_per_gpu", "micro_batch_size"),
        ([], "train.micro_batch_size", "max_tokens_per_gpu"),
    ],
)
def test_the_hint_on_memory_names_what_has_an_effect(argv, named, without_effect):
    line = explain(RayLikeError(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")), argv)
    assert named in line
    assert without_effect not in line


@pytest.mark.parametrize(
    ("innermost", "line"),
    [
        ("CheckedEngine.generate_responses", "in a rollout engine: lower vllm.gpu_memory_utilization, which"),
        (
            "DiPOPolicyActor.fit",
            "in the update: lower train.micro_batch_size, or vllm.gpu_memory_utilization where",
        ),
        (
            "ReferenceModelActor.execute_batch",
            "while log-probabilities were computed: lower rollout.micro_batch_size,",
        ),
        (
            "DiPOPolicyActor.broadcast_to_vllm",
            "while the weights were sent to the engines: lower vllm.gpu_memory",
        ),
        (
            "DiPOTrainer.fit",
            ": lower train.micro_batch_size, rollout.micro_batch_size or vllm.gpu_memory_utilization",
        ),
    ],
)
def test_the_place_of_memory_is_told(innermost, line):
    """The trainer is an actor too: what it calls is the innermost."""
    lines = [
        f"\x1b[36mray::{call}()\x1b[39m (pid=1, ip=10.0.0.2)\n  File ..."
        for call in ("DiPOTrainer.fit", innermost)
    ]
    error = RuntimeError(
        "\n".join([*lines, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"])
    )
    assert line in explain(error)


def test_a_hosts_memory_is_not_a_gpus():
    text = "Task was killed due to the node running low on memory."
    assert explain(RuntimeError(text)).startswith("out of memory on a host")
    assert not may_restart(RuntimeError(text))


def test_the_cause_is_shown_not_rays_wrapper():
    assert explain(RayLikeError(ValueError("prompt 3 is bad"))) == "ValueError: prompt 3 is bad"


def test_a_user_error_is_shown_verbatim():
    cause = UserError("the verifier could not decide 30.0% of this step's samples")
    assert explain(RayLikeError(cause)) == str(cause)


def test_one_line_of_bounded_length():
    line = explain(RuntimeError("a\nb\n" + "x" * 10_000))
    assert "\n" not in line
    assert len(line) <= 500


def test_what_a_model_has_written_does_not_act_on_the_terminal():
    answer = "\x1b]0;owned\x07\x1b[2Jaccuracy 1.000\u202e"
    assert explain(ValueError(f"no answer in {answer}")) == (
        "ValueError: no answer in \\u001b]0;owned\\u0007\\u001b[2Jaccuracy 1.000\\u202e"
    )


def test_an_error_without_a_message():
    assert explain(KeyError()) == "KeyError"


def test_a_dead_actor_is_named():
    """The message of ray 2.55."""
    text = (
        "The actor died unexpectedly before finishing this task.\n\tclass_name: DiPOPolicyActor\n\tactor_id: 86da91f9\n"
        "\tpid: 20686\n\tnamespace: 5f6027ed\n\tip: 10.0.0.2\nThe actor is dead because its worker process has died. "
        "Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with a connection error code 2."
    )
    assert explain(RuntimeError(text)) == (
        "DiPOPolicyActor (pid 20686 on 10.0.0.2) died: killed, out of memory or crashed"
    )


def test_an_actor_that_never_ran_was_not_killed():
    text = (
        "The actor died unexpectedly before finishing this task.\n\tclass_name: DiPOTrainer\n\tactor_id: 86da91f9\n"
        "\tpid: 1\n\tnamespace: 5f6027ed\n\tip: 10.0.0.2\nThe actor never ran - it was cancelled before it started "
        "running."
    )
    assert explain(RuntimeError(text)).endswith(
        "The actor never ran - it was cancelled before it started running."
    )


def test_pydantics_last_line_is_not_the_cause():
    class Engine(BaseModel):
        max_model_len: int

    with pytest.raises(ValidationError) as caught:
        Engine(max_model_len="many")
    line = explain(caught.value)
    assert "further information" not in line
    assert "valid integer" in line


@pytest.mark.parametrize(
    "cause",
    [
        KeyError("input"),
        TypeError("can only concatenate str (not 'NoneType') to str"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        UserError("reward.remote_url: correctness: scores span [-1.0, 1.0], outside [0, 1]"),
    ],
)
def test_what_repeats_itself_is_not_repeated(cause):
    assert not may_restart(cause)
    assert not may_restart(RayLikeError(cause))


@pytest.mark.parametrize(
    "cause",
    [
        RuntimeError("NCCL error: unhandled system error"),
        AttributeError("'NoneType' object has no attribute 'outputs'"),
        ValueError("Free memory on device (3/80 GiB) on startup is less than desired GPU memory utilization"),
        ConnectionError("Connection reset by peer"),
    ],
)
def test_what_may_be_mended_by_the_next_start_is_repeated(cause):
    """vLLM raises ValueError where the memory of a process that was killed is not free yet."""
    assert may_restart(RayLikeError(cause))


def traceback_of(cause: Exception, *files: str) -> RayLikeError:
    """As the text of Ray's errors: the frames of a worker, the innermost last."""
    error = RayLikeError(cause)
    error.args = ("\n".join(f'  File "{file}", line 3, in f' for file in files),)
    return error


def test_what_the_users_own_code_raises_is_not_repeated():
    engine, agent = "/venv/openrlhf/utils/agent.py", "/home/me/agent.py"
    assert not may_restart(traceback_of(ValueError("bad move"), engine, agent), [agent])
    assert may_restart(traceback_of(ValueError("bad move"), engine, agent), ["/home/me/other.py"])
    # of an engine that the agent asks
    assert may_restart(traceback_of(RuntimeError("engine is dead"), agent, engine), [agent])
    # of a service that the agent asks
    assert may_restart(traceback_of(TimeoutError("no answer"), engine, agent), [agent])
