"""wandb and TensorBoard, in place of OpenRLHF's loggers.

openrlhf/utils/logging_utils.py, WandbLogger needs the key as an argument, which is then printed and uploaded as config,
and puts evaluations on an axis that nothing logs. Here wandb reads the key from WANDB_API_KEY or its own login,
WANDB_MODE=offline works, and a tracker that fails never ends a training: metrics.jsonl has everything.
"""

from __future__ import annotations

import contextlib
import logging
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from dipo_eval.errors import one_line
from dipo_eval.files.yaml_file import read_yaml
from dipo_eval.secrets.masking import mask_values
from dipo_eval.watch import wandb_service
from dipo_openrlhf.record.events import WARNING, write_event

logger = logging.getLogger(__name__)

WandbSwitch = Literal["auto", "on", "off"]
WANDB_SECONDS = 90.0  # of one call; the start asks the service first, and the end sends what is left
_ID_FILE = "wandb_id"  # in the run's folder: a resumed training continues the same wandb run


def wants_wandb(switch: WandbSwitch) -> bool:
    """auto: when the environment names a key or a mode; WANDB_MODE=disabled turns it off."""
    if switch == "auto":
        mode = os.environ.get("WANDB_MODE", "")
        return mode != "disabled" and bool(mode or os.environ.get("WANDB_API_KEY"))
    return switch == "on"


def split_values(logs: dict[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
    """(numbers, strings); samples and missing values are in neither."""
    numbers = {key: float(v) for key, v in logs.items() if isinstance(v, bool | int | float)}
    strings = {key: v for key, v in logs.items() if isinstance(v, str) and v}
    return numbers, strings


class WandbTracker:
    """OpenRLHF's WandbLogger interface: log_train, log_eval, close."""

    def __init__(self, run_dir: Path, args: Any) -> None:
        names = args.logger.wandb
        self.run = wandb_service.init(
            lambda line: warn(run_dir, line),
            project=names.project,
            entity=names.org,
            group=names.group,
            name=names.run_name,
            dir=str(run_dir),
            id=wandb_run_id(run_dir),
            resume="allow",
            config=_recipe_values(run_dir),
        )
        for section in ("train", "eval"):
            self.run.define_metric(f"{section}/global_step")
            self.run.define_metric(f"{section}/*", step_metric=f"{section}/global_step")

    def log_train(self, global_step: int, logs_dict: dict[str, Any]) -> None:
        """Values under train/, and the step's sample as a table of one row."""
        import wandb

        sample = logs_dict.get("generated_samples")
        extra = {}
        if sample:
            extra["train/generated_samples"] = wandb.Table(columns=["text", "reward"], data=[list(sample)])
        self._log("train", global_step, logs_dict, extra)

    def log_eval(self, global_step: int, logs_dict: dict[str, Any]) -> None:
        """Values under eval/, on the axis eval/global_step."""
        self._log("eval", global_step, logs_dict, {})

    def _log(self, section: str, global_step: int, logs: dict[str, Any], extra: dict[str, Any]) -> None:
        numbers, strings = split_values(logs)
        row = {f"{section}/{key}": value for key, value in {**numbers, **strings}.items()}
        self.run.log({**row, **extra, f"{section}/global_step": global_step})

    def close(self) -> None:
        """Flush and end the wandb run."""
        self.run.finish()


class TensorboardTracker:
    """OpenRLHF's TensorboardLogger interface: scalars and strings under train/ and eval/."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(log_dir=str(folder))

    def log_train(self, global_step: int, logs_dict: dict[str, Any]) -> None:
        """See the class. The sample is indented, which Markdown shows verbatim."""
        self._log("train", global_step, logs_dict)
        sample = logs_dict.get("generated_samples")
        if sample:
            text, reward = sample
            shown = "\n".join(f"    {line}" for line in str(text).splitlines())
            self.writer.add_text("train/generated_samples", f"reward {reward:.4f}\n\n{shown}", global_step)

    def log_eval(self, global_step: int, logs_dict: dict[str, Any]) -> None:
        """See the class."""
        self._log("eval", global_step, logs_dict)

    def _log(self, section: str, global_step: int, logs: dict[str, Any]) -> None:
        numbers, strings = split_values(logs)
        for key, value in numbers.items():
            self.writer.add_scalar(f"{section}/{key}", value, global_step)
        for key, string in strings.items():
            self.writer.add_text(f"{section}/{key}", string, global_step)
        self.writer.flush()  # a killed run keeps what it logged

    def close(self) -> None:
        """Flush and close the event file."""
        self.writer.close()


class SafeTracker:
    """A tracker whose first failure is told once, on the terminal too, and ends it alone: metrics.jsonl has everything.

    make: makes the tracker. seconds: after which a call counts as failed; 0: never.
    """

    def __init__(self, name: str, run_dir: Path, make: Callable[[], Any], seconds: float = 0.0) -> None:
        self.name, self.run_dir, self.seconds = name, run_dir, seconds
        self.tracker: Any = None
        self.tracker = self._tried(make, "cannot start")

    def log_train(self, global_step: int, logs_dict: dict[str, Any]) -> None:
        """As OpenRLHF's loggers."""
        self._call("log_train", global_step, printable(logs_dict))

    def log_eval(self, global_step: int, logs_dict: dict[str, Any]) -> None:
        """As OpenRLHF's loggers."""
        self._call("log_eval", global_step, printable(logs_dict))

    def close(self) -> None:
        """As OpenRLHF's loggers."""
        self._call("close")

    def _call(self, method: str, *args: Any) -> None:
        if self.tracker is not None:
            self._tried(lambda: getattr(self.tracker, method)(*args), f"has failed in {method}")

    def _tried(self, call: Callable[[], Any], what: str) -> Any:
        try:
            return wandb_service.within(self.seconds, call) if self.seconds else call()
        except Exception as error:  # of whatever kind: a tracker must not end a training
            self.tracker = None
            warn(self.run_dir, f"{self.name} {what} ({one_line(error)}): training goes on without it")
            return None


def start_wandb(run_dir: Path, args: Any) -> SafeTracker:
    """wandb's, offline where its service does not answer."""
    return SafeTracker("wandb", run_dir, lambda: WandbTracker(run_dir, args), WANDB_SECONDS)


def start_tensorboard(run_dir: Path, folder: Path) -> SafeTracker:
    """TensorBoard's."""
    return SafeTracker("TensorBoard", run_dir, lambda: TensorboardTracker(folder))


def warn(run_dir: Path, text: str) -> None:
    """In the log and on the terminal."""
    logger.warning("%s", text)
    with contextlib.suppress(OSError):  # a full disk
        write_event(run_dir, WARNING, text=text)


def printable(value: Any) -> Any:
    """Logs whose strings are text that can be written: half of a character (a lone surrogate) is replaced."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {key: printable(one) for key, one in value.items()}
    return [printable(one) for one in value] if isinstance(value, list | tuple) else value


def wandb_run_id(run_dir: Path) -> str:
    path = run_dir / _ID_FILE
    if not path.exists():
        path.write_text(uuid.uuid4().hex[:12], encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()


def _recipe_values(run_dir: Path) -> dict[str, Any]:
    """The recipe as it was used; masked, since earlier versions refused fewer keys (recipe/no_secrets.py)."""
    path = run_dir / "recipe.yaml"
    return dict(mask_values(read_yaml(path))) if path.exists() else {}
