"""What a check runs, and where its parts find each other's files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

STEPS = 3
LIMITS = {False: 600, True: 1500}  # seconds of a part, by whether it runs on CPU
KILLED_AFTER = 2  # this step's checkpoint is complete when the run is killed
CONTROL_LR = 1e-3
CONTROL_STEPS = 2  # the second samples with the weights that were not sent


@dataclass(frozen=True)
class CheckSettings:
    """One check, plain values: its parts are processes of their own that read them.

    model: a folder, or "" for SmolLM2. prompts: a step. gpus: real, or simulated on CPU. limit: seconds of a part.
    overrides: recipe keys from the command line. measured: the file of measured speeds to write, "" for none.
    """

    folder: str
    cpu: bool
    gpus: int
    model: str = ""
    prompts: int = 8
    samples: int = 8
    tokens: int = 128
    train_batch: int = 32
    limit: int = LIMITS[False]
    seed: int = 1
    overrides: dict[str, Any] = field(default_factory=dict)
    measured: str = ""

    @property
    def root(self) -> Path:
        return Path(self.folder)

    @property
    def run_dir(self) -> Path:
        """The run that is killed and resumed."""
        return self.root / "run"

    @property
    def control_dir(self) -> Path:
        """The run whose weights are not sent to the engines."""
        return self.root / "control"

    @property
    def ckpt(self) -> Path:
        return self.run_dir / "ckpt"

    def prompts_file(self) -> Path:
        return self.root / "prompts.jsonl"

    def model_link(self) -> Path:
        """Names the folder of the model that training starts from."""
        return self.root / "model.txt"

    def start_model(self) -> Path:
        """The model that training starts from; the part `prepare` has found or made it."""
        return Path(self.model_link().read_text(encoding="utf-8").strip())

    def write(self) -> None:
        (self.root / "check.json").write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> CheckSettings:
        return cls(**json.loads((folder / "check.json").read_text(encoding="utf-8")))
