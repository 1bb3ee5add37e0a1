"""The patch runs on one OpenRLHF alone, and says so."""

from __future__ import annotations

import importlib.metadata

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.openrlhf_patch import overrides as version


def test_the_installed_release_is_the_one_that_was_checked():
    version.check_version()
    version.check_overrides()


@pytest.mark.parametrize("found", ["0.11.1", "0.11.3", "0.12.0", "0.11.2.post1"])
def test_another_release_is_refused(monkeypatch, found):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: found)
    with pytest.raises(UserError, match=rf"OpenRLHF {found} is installed.*0\.11\.2"):
        version.check_version()


def test_a_missing_openrlhf_is_one_line(monkeypatch):
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(UserError, match="not installed"):
        version.check_version()


@pytest.mark.parametrize(
    "override",
    [
        version.Override("openrlhf.trainer.ppo_trainer:BasePPOTrainer.no_such_method", ("self",), "test"),
        version.Override("openrlhf.trainer.ppo_trainer:BasePPOTrainer.train_step", ("self", "other"), "test"),
    ],
)
def test_a_moved_seam_is_named(monkeypatch, override):
    monkeypatch.setattr(version, "OVERRIDES", (override,))
    with pytest.raises(UserError, match=override.path.rsplit(".", 1)[-1]):
        version.check_overrides()
