"""A module imports only from lower layers; the pool's side never imports JAX."""

import ast
from pathlib import Path

import pytest


PACKAGE = Path(__file__).parents[1] / "jaxfactory"

# From the lowest; a module may import from the lines above its own.
LAYERS = (
    (
        "_core",
        "advantages",
        "charts",
        "errors",
        "gif",
        "interrupt",
        "legs",
        "listing_options",
        "measurements",
        "metrics",
        "plain_files",
        "plain_pickle",
        "shaping",
        "sizing",
        "slurm",
        "spec",
        "step",
    ),
    (
        "checks",
        "convolution",
        "distributions",
        "engine_sandbox",
        "game_args",
        "gymnasium_spaces",
        "hub_errors",
        "places",
        "plain_archive",
        "plain_json",
        "plugins",
        "pool_checks",
        "terminal_writer",
        "typed_fields",
        "types",
        "vector_info",
        "xla",
    ),
    (
        "backend",
        "env_config",
        "env_policy",
        "game_config",
        "host_file",
        "layers",
        "map_files",
        "metrics_file",
        "network_config",
        "normalization",
        "storage",
        "tensor_file",
        "torch_archive",
    ),
    (
        "config",
        "cores",
        "gymnasium_registry",
        "heads",
        "residual",
        "torch_file",
        "trained_reward",
        "wads",
    ),
    (
        "batch_shaping",
        "encoders",
        "gymnasium_pool",
        "gymnasium_replay",
        "map_file",
        "matches",
        "optimizer",
        "presets",
        "runs",
        "sample_factory_slots",
    ),
    (
        "checkpoint_files",
        "model_card",
        "networks",
        "sample_factory_settings",
        "scenario",
        "settings",
        "wandb_writer",
        "writers",
    ),
    (
        "acting",
        "bundle",
        "checkpoint",
        "losses",
        "preparation",
        "sample_factory_layers",
        "sample_factory_statistics",
        "scenarios",
    ),
    (
        "learner",
        "listing",
        "map_record",
        "maps",
        "registration",
        "sample_factory_weights",
        "spectator",
    ),
    (
        "callbacks",
        "doom_config",
        "environments",
        "map_notes",
        "sample_factory_checks",
        "sample_factory_optimizer",
        "sampler",
        "saved_state",
    ),
    (
        "async_sampler",
        "doom_pool",
        "evaluation_file",
        "sample_factory_files",
    ),
    (
        "hub",
        "pool",
        "run_data",
        "sample_factory",
        "vector_env",
        "video",
    ),
    (
        "agent",
        "evaluate",
        "pulled",
        "report_charts",
        "single_env",
        "stable_baselines",
    ),
    (
        "hub_pull",
        "report",
        "spectator_process",
    ),
    ("init_from",),
    (
        "flags",
        "transfer",
    ),
    (
        "sweep_file",
        "train",
    ),
    (
        "api",
        "sweep_runs",
    ),
    (
        "__init__",
        "sweep",
    ),
    ("cli",),
    (
        "__main__",
        "sweep_process",
    ),
)
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
    "sweep_process", "env_policy", "engine_sandbox", "game_args", "plain_json",
    "plain_files", "typed_fields", "network_config", "maps", "map_record", "map_notes",
    "evaluation_file", "metrics_file", "host_file", "tensor_file", "torch_archive",
    "init_from", "pulled", "sample_factory_checks", "sample_factory_layers",
    "trained_reward",
)  # fmt: skip
WITH_FLAX = ("layers", "cores", "encoders", "networks", "residual")


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
