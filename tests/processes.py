"""Processes of their own for tests: a Python text, started and talked to."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

ROOT = str(Path(__file__).parents[1])


def start(text, *args):
    """Start a Python text that can import the package; its pipes are text."""
    return subprocess.Popen(
        [sys.executable, "-c", dedent(text), *map(str, args)],
        env=os.environ | {"PYTHONPATH": ROOT, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
