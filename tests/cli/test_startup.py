"""What starts quickly: which modules are not imported, and the package's own face."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from places import PACKAGE, ROOT

import jaxfactory
from jaxfactory._util.errors import UserError, require


JAX = {"jax", "jaxlib", "flax", "optax", "orbax", "jaxfactory.training.loop"}
HEAVY = JAX | {
    "numpy", "vizdoom", "jaxfactory._core", "jaxfactory._kernels", "tensorboardX",
    "av", "rich", "jaxtyping", "tyro", "huggingface_hub", "gymnasium", "wandb",
}  # fmt: skip
# Whose options live beside what they do may load NumPy for their help.
LIGHT = {"train", "evaluate", "scenarios", "push", "pull"}


def loaded(code):
    """Return the modules that are there after some Python, and what it printed."""
    code += "\nimport sys; print('MODULES', *sys.modules, file=sys.stderr)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    before, _, modules = result.stderr.rpartition("MODULES ")
    assert not before, before
    return set(modules.split()), result.stdout


def after_command(*args):
    return loaded(
        "import contextlib\n"
        "from jaxfactory.cli.main import main\n"
        "with contextlib.suppress(SystemExit):\n"
        f"    main({list(args)!r})"
    )


def test_importing_the_package_loads_next_to_nothing():
    modules, _ = loaded("import jaxfactory; jaxfactory.__version__; dir(jaxfactory)")
    assert not modules & HEAVY
    ours = {name for name in modules if name.startswith("jaxfactory.")}
    assert ours == {
        "jaxfactory.envs",
        "jaxfactory.envs.wrappers",
        "jaxfactory.envs.wrappers.registration",
    }


@pytest.mark.parametrize("name", ["Config", "UserError", "train", "evaluate", "load"])
def test_these_names_do_not_start_jax(name):
    modules, _ = loaded(f"import jaxfactory; jaxfactory.{name}")
    assert not modules & HEAVY


def test_the_pool_needs_no_jax():
    modules, _ = loaded("import jaxfactory; jaxfactory.make_pool; jaxfactory.Scenario")
    assert not modules & JAX
    assert "numpy" in modules


@pytest.mark.parametrize(
    "imports",
    [
        "import jaxfactory, gymnasium",
        "import gymnasium, jaxfactory",
        "import jaxfactory, importlib.util\n"
        "assert importlib.util.find_spec('gymnasium')\n"
        "import gymnasium",
        "from jaxfactory import make_pool\nfrom gymnasium.spaces import Box\n"
        "import gymnasium",
    ],
)
def test_scenarios_are_registered_whoever_is_imported_first(imports):
    loaded(f"{imports}\nassert 'jaxfactory/Basic-v0' in gymnasium.registry")


def test_gymnasium_is_imported_even_where_registration_fails():
    code = (
        "import warnings, jaxfactory.envs.wrappers.registration as registration\n"
        "def broken(): raise LookupError('a scenario')\n"
        "registration.register_scenarios = broken\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    import gymnasium\n"
        "print([str(one.message) for one in caught])\n"
        "gymnasium.make('CartPole-v1').close()"
    )
    _, said = loaded(code)
    assert "Doom's scenarios are not registered with Gymnasium: LookupError" in said


@pytest.mark.parametrize("args", [(), ("--help",), ("--version",)])
def test_the_command_s_help_loads_next_to_nothing(args):
    modules, said = after_command(*args)
    assert "jaxfactory" in said
    assert not modules & HEAVY


def commands():
    """Read them from the help, so that a new one is tested too."""
    rows = after_command("--help")[1].partition("commands:")[2].partition("options:")[0]
    return re.findall(r"^  (\S+)", rows, re.MULTILINE)


def test_a_command_s_help_loads_what_parses_flags_only():
    names = commands()
    assert set(names) >= LIGHT
    for name in names:
        modules, said = after_command(name, "--help")
        assert f"usage: jaxfactory {name}" in said
        allowed = {"tyro", "rich"}
        if name not in LIGHT:
            allowed |= {"numpy", "jaxtyping"}
        found = modules & (HEAVY - allowed)
        assert not found, f"jaxfactory {name} --help imports {found}"


@pytest.mark.parametrize(
    "args", [("train", "--num-env", "3"), ("train", "--scenario", "nothing"),
             ("evaluate", "--run", "nowhere"), ("scenarios",)]
)  # fmt: skip
def test_mistakes_and_lists_do_not_start_jax(args):
    code = f"import jaxfactory.cli.main as cli\nsys_exit = cli.main({list(args)!r})"
    result = subprocess.run(
        [sys.executable, "-c", code + "\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not set(result.stdout.splitlines()[-1].split()) & JAX


def test_the_version_is_the_installed_one():
    assert jaxfactory.__version__ == importlib.metadata.version("jaxfactory")


def test_names_are_there_and_others_are_not():
    assert set(jaxfactory.__all__) <= set(dir(jaxfactory))
    for name in jaxfactory.__all__:
        assert getattr(jaxfactory, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = jaxfactory.nothing


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(jaxfactory.__file__).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.name: node.module.removeprefix("jaxfactory.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == jaxfactory._HOMES


def test_functions_win_over_modules_of_the_same_name():
    code = (
        "import jaxfactory.training.loop, jaxfactory.evaluation.evaluate\n"
        "from jaxfactory.training.setup import num_slabs\n"
        "from jaxfactory import train\n"
        "import jaxfactory\n"
        "assert train is jaxfactory.train and callable(train)\n"
        "assert callable(jaxfactory.evaluate)\n"
    )
    loaded(code)


def test_every_extra_that_is_asked_for_exists():
    root = ROOT
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"])
    assert {"bench", "cuda", "docs", "envpool", "gymnasium", "hub", "wandb"} <= extras
    for path in (root / "jaxfactory").rglob("*.py"):
        text = path.read_text()
        asked = re.findall(r'extra="(\w+)"', text)
        asked += re.findall(r"jaxfactory\[(\w+)\]", text)
        assert set(asked) <= extras, path.name


def test_what_is_not_installed_is_a_sentence():
    require("json", extra="docs", what="--json")
    for module in ("nowhere_at_all", "nowhere_at_all.inner", "json.nowhere"):
        name = module.partition(".")[0]
        with pytest.raises(UserError) as caught:
            require(module, extra="docs", what="--nowhere")
        assert str(caught.value) == (
            f"--nowhere needs {name}, which is not installed; "
            "install it with: pip install 'jaxfactory[docs]'"
        )


def test_the_package_carries_its_types():
    assert (PACKAGE / "py.typed").is_file()
