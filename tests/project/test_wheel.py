"""A wheel, installed in a fresh environment: what breaks silently when files move."""

import os
import re
import subprocess
import sys
import venv
import zipfile

import pytest
from places import PACKAGE, ROOT
from tiny import FLAGS


# Compiled, and so not in the source tree.
BUILT = {"_core.pyi", "_core.so", "_match_preload.so", "_fork_preload.so"}


def run(*words, **options):
    """Run a command that must succeed; return what it prints."""
    done = subprocess.run(
        [str(word) for word in words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options,
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(done.args)}:\n{done.stdout[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of this tree; objects that `make install` has built are used again."""
    folder = tmp_path_factory.mktemp("wheel")
    run(
        sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation",
        "--wheel-dir", folder, ROOT,
    )  # fmt: skip
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder of commands of an environment with the wheel in it.

    The dependencies are those of this environment, on the path behind the wheel. Its
    editable jaxfactory is not: no .pth file is read there.
    """
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "-q", "--python", python, "install", "--no-deps",
        wheel)  # fmt: skip
    (packages,) = folder.glob("lib/python*/site-packages")
    paths = [path for path in sys.path if path.endswith("-packages")]
    (packages / "dependencies.pth").write_text("\n".join(paths))
    return folder / "bin"


def sources():
    """Return the files of the package, as paths in a wheel."""
    files = (path for path in PACKAGE.rglob("*") if path.is_file())
    return {
        str(path.relative_to(ROOT))
        for path in files
        if "__pycache__" not in path.parts
        and path.suffix != ".so"
        and path.name not in BUILT
    }


def test_every_file_of_the_package_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    held = {name for name in names if name.startswith("jaxfactory/")}
    assert held >= sources()
    # What is built has the interpreter's tag in its name: _core.cpython-311-....so.
    rest = {re.sub(r"\..*\.so$", ".so", name) for name in held - sources()}
    assert {name.partition("/")[2] for name in rest} >= BUILT
    # So that this does not pass on an empty folder.
    data = [name for name in held if not name.endswith((".py", ".so", ".pyi"))]
    assert len([name for name in data if name.endswith(".cfg")]) >= 14
    assert [name for name in data if "/templates/" in name]
    assert "jaxfactory/py.typed" in data
    assert not [name for name in names if name.startswith(("tests/", "csrc/"))]


@pytest.mark.slow
@pytest.mark.vizdoom
def test_the_commands_work_from_a_wheel(installed, tmp_path):
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    command = installed / "jaxfactory"

    def said(*words):
        return run(command, *words, cwd=tmp_path, env=env)

    program = "import jaxfactory; print(*jaxfactory.__path__)"
    place = run(installed / "python", "-c", program, cwd=tmp_path, env=env)
    assert place.startswith(str(installed.parent))
    assert re.fullmatch(r"jaxfactory \d\S*\n", said("--version"))
    assert "battle" in said("scenarios", "battle")
    # 4 environments x 8 steps x 4 tics are 128 frames an update.
    said(
        "train", "--run", "run", "--scenario", "basic", *FLAGS, "--total-frames", "512",
        "--evaluate-every", "256", "--evaluate-episodes", "2", "--video-every", "256",
    )  # fmt: skip
    run_dir = tmp_path / "run"
    assert '"evaluation/raw_return"' in (run_dir / "metrics.jsonl").read_text()
    assert list((run_dir / "videos").glob("*.mp4"))
    # The log of a background evaluation that fails.
    assert not list(run_dir.glob("*evaluat*.log"))
    said("evaluate", "--run", "run", "--episodes", "2", "--num-envs", "2",
         "--checkpoint", "latest", "--render-mp4")  # fmt: skip
    assert (run_dir / "evaluation.mp4").is_file()
    said("report", "run")
    assert "<svg" in (run_dir / "report.html").read_text()
