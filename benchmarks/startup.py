"""Measures the start-up time: importing the package and printing each --help.

Prints the fastest and the median of several rounds, and with --modules the slowest
imports.
"""

import argparse
import statistics
import subprocess
import sys
import time


_HELP = ("--help", "train --help", "evaluate --help", "scenarios --help")
_SHOWN = 15


def _commands() -> dict[str, list[str]]:
    commands = {"import jaxfactory": [sys.executable, "-c", "import jaxfactory"]}
    for flags in _HELP:
        command = [sys.executable, "-m", "jaxfactory", *flags.split()]
        commands[f"jaxfactory {flags}"] = command
    return commands


def measure(command: list[str], rounds: int) -> list[float]:
    """Return the seconds that a command took in each round."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    return seconds


def slowest_imports(command: list[str]) -> list[str]:
    """Return the lines of ``python -X importtime`` about the slowest imports."""
    command = [command[0], "-X", "importtime", *command[1:]]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    lines = [
        line.removeprefix("import time:")
        for line in result.stderr.splitlines()
        if line.startswith("import time:") and "cumulative" not in line
    ]
    lines.sort(key=lambda line: -int(line.split("|")[1]))
    return lines[:_SHOWN]


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(prog="startup.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--modules", action="store_true")
    options = parser.parse_args()
    for name, command in _commands().items():
        seconds = measure(command, options.rounds)
        print(
            f"{name:28} fastest {min(seconds):.2f} s, "
            f"median {statistics.median(seconds):.2f} s"
        )
        if options.modules:
            print("  itself us | cumulative | module")
            for line in slowest_imports(command):
                print(f" {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
