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
    "doom_engine_test", "engine_start_test", "kernels_test", "no_memory_test",
    "fault_test", "many_cores_test",
)  # fmt: skip


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
        # Most processors have no AMX.
        f"-DJAXFACTORY_SANITIZE={sanitizer}", "-DJAXFACTORY_SOFTWARE_TILES=ON",
    )  # fmt: skip
    run(tool("cmake"), "--build", str(folder), "--target", *TESTS, "fake_engine")


def run_test(folder: Path, name: str, env: dict[str, str] | None = None) -> None:
    program = str(folder / name)
    if name == "kernels_test":
        run(program, "AMX", env=env)
        slower = {"JAXFACTORY_MAX_ISA": "AVX512BF16"}
        run(program, "AVX-512-BF16", env=(env or {}) | slower)
    elif name == "doom_env_test":
        vizdoom = importlib.util.find_spec("vizdoom").submodule_search_locations[0]
        run(program, vizdoom, env=env)
    else:
        run(program, env=env)
