"""Memory that is freed stays with the process."""

import subprocess
import sys

import pytest


_PROGRAM = """
import resource, sys
import numpy as np
from jaxfactory._util import jax_setup as backend

if sys.argv[1] == "keep":
    backend.keep_freed_memory()

def use():
    np.empty(2**26, np.uint8).fill(1)

use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc's malloc that is told")
def test_memory_is_not_taken_anew():
    kept, given_back = (
        int(subprocess.check_output([sys.executable, "-c", _PROGRAM, how], text=True))
        for how in ("keep", "")
    )
    # 4 x 64 MiB are 65,536 small pages or 128 huge ones, as the kernel chooses.
    assert given_back >= 100
    assert 4 * kept < given_back
