"""Readers of files that strangers make, fed with broken and invented ones.

The long form takes `JAXFACTORY_FUZZ_SECONDS` for each reader, ten minutes by default.
"""

import os
import subprocess
import sys
import time

import fuzz_readers
import pytest
from places import TESTS


SECONDS = float(os.environ.get("JAXFACTORY_FUZZ_SECONDS", "600"))


@pytest.mark.parametrize("name", fuzz_readers.READERS)
def test_a_reader_returns_or_refuses(name):
    # A report, an import and a checkpoint take longest.
    slow = ("results", "sample_factory", "checkpoint", "torch")
    fuzz_readers.fuzz(name, 4 if name in slow else 20)


@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.timeout(SECONDS + 600)
@pytest.mark.parametrize("name", fuzz_readers.READERS)
def test_a_reader_returns_or_refuses_for_long(name):
    # In a process of its own, whose memory is limited and where nothing but the reader
    # takes time.
    script = TESTS / "helpers" / "fuzz_readers.py"
    command = [sys.executable, script, name, str(SECONDS), str(time.time_ns() % 2**31)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # The traceback comes first; the file, which can be long, after it.
    assert done.returncode == 0, f"{done.args}: {done.stderr[:6000]}"
