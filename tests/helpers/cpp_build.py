"""Builds and runs the C++ tests."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from places import ROOT


TESTS = (
    "env_pool_test", "frame_test", "doom_reward_test", "doom_env_test",
    "doom_engine_test", "engine_start_test",
)  # fmt: skip
# Only under sanitizers: without them, the tests of models check the kernels' numbers.
SANITIZED = (*TESTS, "kernels_test")


def tool(name: str) -> str:
    """The tool beside this interpreter, or the one on the path."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    assert found, f"{name} is missing: pip install {name}"
    return found


def run(*words: str, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=600, env={**os.environ, **(env or {})},
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(words)}:\n{done.stdout[-8000:]}"


def build(folder: Path, sanitizer: str = "") -> None:
    run(
        tool("cmake"), "-S", str(ROOT), "-B", str(folder), "-G", "Ninja",
        f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}",
        f"-DPython_EXECUTABLE={sys.executable}",
        "-DJAXFACTORY_MODULE=OFF", "-DJAXFACTORY_TESTS=ON", "-DJAXFACTORY_WERROR=ON",
        f"-DJAXFACTORY_SANITIZE={sanitizer}",
    )  # fmt: skip
    targets = (*(SANITIZED if sanitizer else TESTS), "fake_engine")
    run(tool("cmake"), "--build", str(folder), "--target", *targets)


def run_test(folder: Path, name: str, env: dict[str, str] | None = None) -> None:
    vizdoom = importlib.util.find_spec("vizdoom").submodule_search_locations[0]
    run(str(folder / name), *([vizdoom] if name == "doom_env_test" else []), env=env)
