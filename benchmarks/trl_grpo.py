"""TRL's GRPOTrainer on arithmetic. Run in TRL's environment by trl_environment.py, not by hand: python trl_grpo.py TASK

TASK: JSON with the model's folder, problems, sizes and threads. Writes steps.json into the task's folder: for each step
`seconds`, `processor` (processor seconds), `responses`, `tokens` (action tokens), `correct`, and `effective`: responses
of groups that are neither all correct nor all incorrect, which alone have a gradient.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")


class Clock(TrainerCallback):
    """Measures each step, from the first to the last."""

    def __init__(self, group: int) -> None:
        self.group = group
        self.steps: list[dict[str, float]] = []
        self.generated: dict[str, float] = {}
        self.begun = self.now()

    @staticmethod
    def now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def reward(
        self, completions: list[Any], answer: list[str], completion_ids: list[list[int]], **_: Any
    ) -> list[float]:
        texts = [turns[0]["content"] for turns in completions]
        found = [_BOXED.findall(text)[-1:] == [gold] for text, gold in zip(texts, answer, strict=True)]
        groups = [sum(found[i : i + self.group]) for i in range(0, len(found), self.group)]
        self.generated = {
            "responses": len(found),
            "tokens": sum(map(len, completion_ids)),
            "correct": sum(found),
            "effective": self.group * sum(0 < right < self.group for right in groups),
        }
        return [float(right) for right in found]

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not self.steps and not self.generated:
            self.begun = self.now()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        ended = self.now()
        self.steps.append(
            {"seconds": ended[0] - self.begun[0], "processor": ended[1] - self.begun[1], **self.generated}
        )
        self.begun = ended


def main(task: dict[str, Any]) -> None:
    torch.set_num_threads(task["threads"])
    group, prompts, passes = task["group"], task["prompts"], task["passes"]
    config = GRPOConfig(
        output_dir=task["folder"], use_cpu=True, bf16=False, seed=task["seed"], max_steps=task["steps"],
        per_device_train_batch_size=prompts * group // passes, gradient_accumulation_steps=passes,
        steps_per_generation=passes, num_generations=group, max_completion_length=task["max_new_tokens"],
        temperature=1.0, top_p=1.0, beta=0.0, epsilon=0.2, epsilon_high=0.28, learning_rate=task["lr"],
        lr_scheduler_type="constant", adam_beta2=0.95, max_grad_norm=1.0, gradient_checkpointing=False,
        model_init_kwargs={"dtype": "float32"}, logging_steps=1, save_strategy="no", report_to="none",
        disable_tqdm=True,
    )  # fmt: skip
    rows = [
        {"prompt": [{"role": "user", "content": one["question"]}], "answer": one["answer"]}
        for one in task["problems"]
    ]
    clock = Clock(group)
    trainer = GRPOTrainer(
        model=task["model"], reward_funcs=[clock.reward], args=config, train_dataset=Dataset.from_list(rows),
        callbacks=[clock],
    )  # fmt: skip
    trainer.train()
    Path(task["folder"], "steps.json").write_text(json.dumps(clock.steps))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
