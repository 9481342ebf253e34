"""A sweep as a batch script: a job array with one task for each run."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path


_SCRIPT = """\
#!/bin/bash
# Written by `jaxfactory sweep --slurm`. A task that is given its index again goes on
# with its run.
{directives}
set -u
cd {directory}
python=${{JAXFACTORY_PYTHON:-{python}}}
child=
# Before its time is up a task is told to stop; then it saves and leaves.
trap '[ -n "$child" ] && kill -TERM "$child" 2>/dev/null' TERM INT
run() {{
  "$python" -m jaxfactory "$@" &
  child=$!
  wait "$child"
  code=$?
  # A signal ends `wait` before the child has ended.
  while kill -0 "$child" 2>/dev/null; do
    wait "$child"
    code=$?
  done
  return "$code"
}}
case "$SLURM_ARRAY_TASK_ID" in
{cases}
*)
  echo "there is no run $SLURM_ARRAY_TASK_ID in this sweep" >&2
  exit 2
  ;;
esac
"""


def script(
    commands: Sequence[Sequence[Sequence[str]]],
    *,
    name: str,
    parallel: int,
    logs: Path,
    directory: Path,
    options: dict[str, str],
) -> str:
    """Return the script.

    Args:
        commands: For each run its commands, arguments of ``jaxfactory``; each is run
            only if the one before it succeeded.
        name: Of the job.
        parallel: Tasks at a time.
        logs: Where each task's output goes.
        directory: Where the commands are run.
        options: More of ``sbatch``, without the dashes; they win over ours.
    """
    defaults = {
        "job-name": name,
        "array": f"0-{len(commands) - 1}%{parallel}",
        "output": f"{logs}/%a.log",
        "open-mode": "append",
        "signal": "B:TERM@120",
    }
    directives = {**defaults, **options}
    cases = []
    for number, steps in enumerate(commands):
        lines = [f"  run {shlex.join(step)}" for step in steps]
        cases.append(f"{number})\n" + " &&\n".join(lines) + "\n  ;;")
    return _SCRIPT.format(
        directives="\n".join(
            f"#SBATCH --{key}={text}" for key, text in directives.items()
        ),
        directory=shlex.quote(str(directory)),
        python=shlex.quote(sys.executable),
        cases="\n".join(cases),
    )
