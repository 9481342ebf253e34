"""Writes a sweep as a Slurm batch script: a job array with one task per run."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path


_SCRIPT = """\
#!/bin/bash
# Written by `jaxfactory sweep --slurm`. A task that is started again resumes its run.
{directives}
set -u
cd {directory}
python=${{JAXFACTORY_PYTHON:-{python}}}
child=
# Slurm sends TERM before the time limit; the run then saves and exits.
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
    """Return the text of the script.

    Args:
        commands: For each run its commands, as arguments of ``jaxfactory``. Each
            command runs only if the previous one succeeded.
        name: Name of the job.
        parallel: Number of parallel tasks.
        logs: Directory of the tasks' output.
        directory: Working directory of the commands.
        options: Further ``sbatch`` options without dashes; they override the defaults.
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
