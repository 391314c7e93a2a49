"""A few of the kills of `killing.py`; the campaign of fifty is run by hand."""

import subprocess
import sys
from pathlib import Path


def test_kills_at_random_moments_lose_nothing():
    """In a process of its own: one that has run threads cannot be forked."""
    script = Path(__file__).with_name("killing.py")
    command = [sys.executable, str(script), "--training", "6", "--evaluation", "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["training", "6", "6", "0"] in rows
    assert ["evaluation", "4", "4", "0"] in rows
