"""What the benchmarks that train have in common: jaxfactory's own command."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


JAXFACTORY = (sys.executable, "-m", "jaxfactory")


class FailedError(Exception):
    """A command ended with an error; the message says which, and what it said last."""


def call(*arguments: object) -> None:
    """Run ``jaxfactory`` with some arguments until it is done, and show nothing of it.

    Raises:
        FailedError: If it fails.
    """
    done = subprocess.run(
        [*JAXFACTORY, *map(str, arguments)], capture_output=True, text=True
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise FailedError(f"{arguments[0]} failed: {' '.join(said)}")


def evaluate(run: Path, episodes: int, checkpoint: str = "best") -> dict[str, Any]:
    """Play episodes with a run's checkpoint; return what evaluation.json then holds.

    Raises:
        FailedError: If it fails.
    """
    call("evaluate", "--run", run, "--checkpoint", checkpoint, "--episodes", episodes)
    return json.loads((run / "evaluation.json").read_text())
