"""Worker loop of update.py: reads requests from stdin, writes answers to stdout."""

import json
import sys
import time
from collections.abc import Callable

import numpy as np


STEPS, ENVS, ACTIONS = 32, 32, 5
ACTING = 64
_IMAGE = (72, 128, 3)


def images(*lead: int) -> np.ndarray:
    """Return random pixels, uint8 `[*lead, H, W, C]`."""
    return np.random.default_rng(0).integers(0, 256, (*lead, *_IMAGE), np.uint8)


def serve(work: dict[str, Callable[[], None]]) -> None:
    """Serve measurement requests until stdin ends; each call waits for its result."""
    for call in work.values():
        for _ in range(3):
            call()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        call = work[order["work"]]
        call()
        calls, start = 0, time.perf_counter()
        while (seconds := time.perf_counter() - start) < order["seconds"]:
            call()
            calls += 1
        print(json.dumps({"calls": calls, "seconds": seconds}), flush=True)
