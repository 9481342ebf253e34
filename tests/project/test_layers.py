"""The order of the packages is the order of imports; the pool never imports JAX."""

import ast

import pytest
from places import PACKAGE


# From the lowest; each imports only from itself and from those before it.
ORDER = (
    "_core", "_kernels", "_util", "spec", "types", "config", "distributed", "metrics",
    "scenarios", "envs", "stable_baselines", "models", "ppo", "league", "rollout",
    "population", "checkpoints", "evaluation", "sample_factory", "report", "hub",
    "training", "sweep", "tournament", "api", "__init__", "cli", "__main__",
)  # fmt: skip
EXTENSIONS = {"_core", "_kernels"}
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
# These and what they import at the top start no JAX, and so no GPU.
WITHOUT_JAX = (
    "__init__", "__main__", "api", "_util", "spec", "config", "metrics", "scenarios",
    "envs", "stable_baselines", "sample_factory", "report", "hub", "sweep", "cli",
    "training.init_from", "training.options",
)  # fmt: skip
# But these, which others import inside functions.
WITH_JAX = ("sample_factory.statistics", "envs.doom.xla")
WITH_FLAX = (
    "models.layers", "models.cores", "models.encoders", "models.actor_critic",
    "models.residual", "models.tower",
)  # fmt: skip


def imports(module, *, top_level_only=False):
    """Return the modules that one imports, as far as they are this package's or roots.

    A package's module is named without ``jaxfactory.``; others by their first word.
    """
    tree = ast.parse(MODULES[module].read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    ours = {name.removeprefix("jaxfactory.") for name in names if "jaxfactory." in name}
    others = {name.partition(".")[0] for name in names} - {"jaxfactory"}
    return {name for name in ours if name in MODULES or name in EXTENSIONS}, others


def below(prefix):
    return [name for name in MODULES if name == prefix or name.startswith(f"{prefix}.")]


def test_every_file_is_looked_at():
    assert len(MODULES) > 120
    assert {name.partition(".")[0] for name in MODULES} == set(ORDER) - EXTENSIONS


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_packages_before_its_own(module):
    home = module.partition(".")[0]
    for other in imports(module)[0]:
        there = other.partition(".")[0]
        assert ORDER.index(there) <= ORDER.index(home), f"{module} imports {other}"


def test_no_modules_import_each_other():
    done, open_ = set(), []

    def visit(module):
        assert module not in open_, " -> ".join([*open_, module])
        if module in done or module not in MODULES:
            return
        open_.append(module)
        for other in sorted(imports(module)[0]):
            visit(other)
        open_.pop()
        done.add(module)

    for module in MODULES:
        visit(module)
    assert done == set(MODULES)


@pytest.mark.parametrize(
    "module",
    [name for prefix in WITHOUT_JAX for name in below(prefix) if name not in WITH_JAX],
)
def test_these_modules_do_not_start_jax(module):
    seen, todo = set(), [module]
    while todo:
        name = todo.pop()
        if name in seen or name not in MODULES:
            continue
        seen.add(name)
        # What a function imports is imported when the function runs.
        ours, others = imports(name, top_level_only=True)
        heavy = others & {"jax", "flax", "optax"}
        assert not heavy, f"{module} imports {heavy} through {name}"
        todo += ours


@pytest.mark.parametrize("module", MODULES)
def test_flax_stays_in_the_network(module):
    assert "flax" not in imports(module)[1] or module in WITH_FLAX


def test_folders_and_modules_stay_small():
    for folder in [PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir())]:
        modules = [file for file in folder.glob("*.py") if file.name != "__init__.py"]
        assert len(modules) <= 12, f"{folder.name} has {len(modules)} modules"
    for module, file in MODULES.items():
        lines = len(file.read_text().splitlines())
        assert lines <= 300, f"{module} has {lines} lines"
