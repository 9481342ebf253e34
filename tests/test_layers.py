"""A module imports only from lower layers; the pool's side never imports JAX."""

import ast
from pathlib import Path

import pytest


PACKAGE = Path(__file__).parents[1] / "jaxfactory"

# From the lowest; a module may import from the lines above its own.
LAYERS = (
    (
        "errors", "spec", "interrupt", "legs", "sizing", "step", "charts", "slurm",
        "_core",
    ),
    ("places", "listing_options"),
    (
        "backend", "types", "checks", "metrics", "game_config", "shaping",
        "measurements", "plugins", "hub_errors",
    ),
    ("env_config",),
    ("config",),
    ("presets", "plain_pickle"),
    ("sample_factory_settings", "torch_file"),
    ("storage", "xla", "heads", "wads", "batch_shaping"),
    ("sample_factory_files", "sample_factory_slots"),
    ("sample_factory_weights",),
    ("distributions", "normalization", "advantages", "matches", "gif"),
    ("scenario",),
    ("scenarios", "runs", "convolution", "settings", "model_card"),
    ("sample_factory_statistics",),
    (
        "doom_config", "flags", "run_data", "listing", "layers", "checkpoint_files",
    ),
    ("registration", "gymnasium_spaces", "cores", "encoders", "terminal_writer"),
    ("gymnasium_registry", "pool_checks", "vector_info"),
    ("gymnasium_pool", "gymnasium_replay", "doom_pool", "env_policy"),
    ("environments",),
    ("pool", "networks", "writers", "report_charts", "sweep_file"),
    (
        "losses", "acting", "checkpoint", "report", "wandb_writer", "sweep_runs",
        "preparation", "optimizer",
    ),
    ("vector_env",),
    ("single_env", "stable_baselines", "learner", "bundle", "sweep", "spectator"),
    ("sample_factory",),
    ("sampler", "callbacks", "agent"),
    ("async_sampler",),
    ("train", "video"),
    ("evaluate", "hub"),
    ("hub_pull", "api"),
    ("cli", "spectator_process"),
    ("__main__", "__init__", "sweep_process"),
)  # fmt: skip
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))
WITHOUT_JAX = (
    "errors", "places", "backend", "interrupt", "checks", "env_config", "config",
    "presets", "metrics", "scenarios", "runs", "pool_checks", "doom_pool", "pool",
    "terminal_writer", "writers", "legs", "sizing", "step", "cli", "spec",
    "game_config", "doom_config", "shaping", "measurements", "heads", "wads",
    "batch_shaping", "plugins", "__main__", "flags", "charts", "run_data",
    "report_charts", "report", "settings", "scenario", "sweep_file", "sweep_runs",
    "sweep", "slurm", "plain_pickle", "torch_file", "sample_factory_settings",
    "sample_factory_files", "sample_factory_slots", "sample_factory_weights",
    "sample_factory", "hub", "hub_errors", "hub_pull", "model_card", "matches",
    "listing", "listing_options", "api", "__init__", "registration", "vector_info",
    "vector_env", "single_env", "stable_baselines", "gymnasium_spaces",
    "gymnasium_pool", "gymnasium_registry", "gymnasium_replay", "environments",
    "sweep_process", "env_policy",
)  # fmt: skip
WITH_FLAX = ("layers", "cores", "encoders", "networks")


def imports(module, *, top_level_only=False):
    """Return the dotted names that a module imports."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            base = node.module
            if base == "jaxfactory":
                names |= {f"{base}.{alias.name}" for alias in node.names}
            else:
                names.add(base)
    return names


def inner(names):
    return {name.split(".")[1] for name in names if name.startswith("jaxfactory.")}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_lower_layers(module):
    assert module in RANK, f"give {module} a place in LAYERS"
    for other in inner(imports(module)):
        if other in RANK:  # Else a name of the package itself, such as __version__.
            assert RANK[other] < RANK[module], f"{module} imports {other}"


@pytest.mark.parametrize("module", [name for name in WITHOUT_JAX if name in MODULES])
def test_these_modules_do_not_start_jax(module):
    seen, todo = set(), [module]
    while todo:
        name = todo.pop()
        if name in seen or name not in MODULES:
            continue
        seen.add(name)
        # What a function imports is imported when the function runs.
        found = imports(name, top_level_only=True)
        heavy = {other.split(".")[0] for other in found} & {"jax", "flax", "optax"}
        assert not heavy, f"{module} imports {heavy} through {name}"
        todo += inner(found)


@pytest.mark.parametrize("module", MODULES)
def test_flax_stays_in_the_network(module):
    roots = {name.split(".")[0] for name in imports(module)}
    assert "flax" not in roots or module in WITH_FLAX
