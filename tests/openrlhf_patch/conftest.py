"""OpenRLHF imports on a machine without a GPU only with the CPU changes in place."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

os.environ.setdefault("DIPO_CPU", "1")
os.environ.setdefault("DS_ACCELERATOR", "cpu")
os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")

from dipo_openrlhf.openrlhf_patch.cpu import changes as cpu

cpu.install()
