"""Starting a run from another run's weights, as far as they fit.

A network is copied part by part, in forward order: encoder, core, decoder, heads. A
part is copied if all its shapes match and the part that feeds it was copied. The
decoder and the heads are copied only if the actions match as well.
"""

import os
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints import checkpoint_files
from jaxfactory.checkpoints.saved_run import SavedRun, load_for_evaluation
from jaxfactory.config.train import Config
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.models.encoders import ENCODERS
from jaxfactory.ppo.learner import TrainState
from jaxfactory.scenarios import scenario_table
from jaxfactory.scenarios.action_heads import Head
from jaxfactory.training import init_from


_IMAGE, _MEASUREMENTS, _ENCODER = "image encoder", "measurements encoder", "encoder"
_CORE, _DECODER, _CRITIC = "core", "decoder", "critic"
_VARIABLES = "variables encoder"
_POLICY, _VALUE = "policy head", "value head"
_HEADS = {"policy": _POLICY, "mean": _POLICY, "log_std": _POLICY, "value": _VALUE}
_HEADS["variables"] = _VARIABLES

_ENCODERS = (_ENCODER, _IMAGE, _MEASUREMENTS)
_ORDER = (_CORE, _DECODER, _CRITIC, _VARIABLES, _POLICY, _VALUE)

# Leaves of a part: from the path after ``params.`` to shape and type.
Part = dict[str, str]


class Start(NamedTuple):
    """The weights that a new run starts from.

    Attributes:
        arrays: Leaves of the training state by their paths, as in checkpoints.
        report: What was copied and what is newly initialized, in one line.
    """

    arrays: dict[str, np.ndarray]
    report: str


def prepare(config: Config, run_dir: Path, network: ActorCritic) -> Start | None:
    """Read the run that `config.init_from` names; None if `run_dir` is resumed instead.

    Args:
        config: Settings of the new run.
        run_dir: Its directory. A run that has a checkpoint is resumed from it.
        network: Network of the new run.

    Raises:
        UserError: If there is no such run or checkpoint, or none of its weights fit.
    """
    if config.init_from is None or init_from.has_begun(run_dir):
        return None
    saved = load_for_evaluation(init_from.find(config.init_from), "best")
    arrays = _read(saved)
    theirs = {name: f"{array.dtype}{_sizes(array)}" for name, array in arrays.items()}
    ours = checkpoint_files.shapes_of(
        {
            "params": jax.eval_shape(lambda: network.init(jax.random.key(0))),
            "normalizer": jax.eval_shape(network.init_normalizer),
        }
    )
    plain = _is_plain(config) and _is_plain(saved.config)
    plan = _Plan(_parts(ours, plain), _parts(theirs, plain))
    same_variables = init_from.same_variables(saved.config, config)
    plan.choose(_other_heads(saved.config, config), same_variables)
    name = _shown(config.init_from)
    if not plan.taken:
        raise UserError(
            f"no weights of {name} fit this run ({'; '.join(plan.fresh)}); leave out "
            "--init-from, or the flags that change the network or the observation"
        )
    names = [f"params.{leaf}" for part in plan.taken for leaf in plan.ours[part]]
    names += _statistics(plan, ours, theirs, saved.config, config)
    report = f"copied from {name} ({saved.frames:,} frames): {_named(plan)}"
    if plan.fresh:
        report += f"; newly initialized: {', '.join(plan.fresh)}"
    return Start({leaf: arrays[leaf] for leaf in names}, report)


def begin(state: TrainState, start: Start | None) -> TrainState:
    """Return a new run's state with the arrays of `start` in place of its own."""
    return state if start is None else checkpoint_files.with_arrays(state, start.arrays)


def _read(saved: SavedRun) -> dict[str, np.ndarray]:
    try:
        arrays = checkpoint_files.read_arrays(saved.path)[1]
    except UserError:
        raise
    except Exception as error:  # Orbax raises many kinds on damaged files.
        raise UserError(
            f"the checkpoint {saved.path} is damaged ({checkpoint_files.why(error)}); "
            "give --init-from another run"
        ) from error
    kept = ("params.", "normalizer.")
    return {name: array for name, array in arrays.items() if name.startswith(kept)}


def _is_plain(config: Config) -> bool:
    """Whether the encoder is built in, so that its parts are known."""
    return config.network.encoder in ENCODERS


def _parts(leaves: dict[str, str], plain: bool) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    for name, shape in leaves.items():
        root, _, leaf = name.partition(".")
        if root == "params":
            parts.setdefault(_part_of(leaf.split("."), plain), {})[leaf] = shape
    return parts


def _part_of(path: list[str], plain: bool) -> str:
    top = path[0]
    if top == "encoder" and plain:
        return _MEASUREMENTS if path[1].startswith("measurements_") else _IMAGE
    if top in _HEADS:
        return _HEADS[top]
    # Several layers are one part: core, core_1, ...
    return top.partition("_")[0]


class _Plan:
    """Decides which parts are copied.

    Attributes:
        ours: Parts of the new run's network.
        taken: Names of the parts that are copied.
        fresh: Those that are not, each with its reason, if it has one of its own.
        other_buttons: Whether the policy's choices press other buttons in the source.
    """

    def __init__(self, ours: dict[str, Part], theirs: dict[str, Part]) -> None:
        self.ours = ours
        self._theirs = theirs
        self.taken: list[str] = []
        self.fresh: list[str] = []
        self.other_buttons = False

    def choose(self, other_heads: str | None, same_variables: bool) -> None:
        """Decide for every part; `other_heads` is how the actions differ."""
        encoders = [part for part in _ENCODERS if part in self.ours]
        for part in encoders:
            self._try(part, True)
        fits = bool(self.taken)
        rest = [part for part in self.ours if part not in (*encoders, *_ORDER)]
        for part in (_CORE, *rest):
            fits = self._try(part, fits)
        self.other_buttons = other_heads == ""
        same = not other_heads and self._same(_POLICY)
        critic = self._same(_CRITIC)
        fits = self._try(_DECODER, fits and same)
        if fits:
            self._try(_POLICY, True)
        else:
            self._leave(_POLICY, other_heads or self._other_choices())
        self._try(_CRITIC, fits)
        same = self._try(_VARIABLES, fits and critic and same_variables)
        self._try(_VALUE, same)

    def _same(self, part: str) -> bool:
        return self.ours.get(part) == self._theirs.get(part)

    def _try(self, part: str, may: bool) -> bool:
        """Copy a part if it may be and fits; return whether later ones may be."""
        if may and self._same(part):
            self.taken += [part] if part in self.ours else []
            return True
        # A part fed by a newly initialized one needs no reason of its own.
        self._leave(part, self._difference(part) if may else "")
        return False

    def _leave(self, part: str, why: str) -> None:
        if part in self.ours:
            self.fresh.append(f"{part} ({why})" if why else part)

    def _difference(self, part: str) -> str:
        """Return the first difference between the parts, "" if there is none."""
        ours, theirs = self.ours.get(part, {}), self._theirs.get(part, {})
        if not theirs:
            return "the source has none"
        for leaf in sorted(ours, key=lambda name: name.endswith(".bias")):
            other = theirs.get(leaf, "missing")
            if ours[leaf] != other:
                return f"{leaf} is {_plainly(ours[leaf])} instead of {_plainly(other)}"
        more = next((leaf for leaf in theirs if leaf not in ours), None)
        return f"{more} is missing" if more else ""

    def _other_choices(self) -> str:
        biases = (self.ours.get(_POLICY, {}), self._theirs.get(_POLICY, {}))
        ours, theirs = (_plainly(part.get("policy.bias", "none")) for part in biases)
        return f"{ours} choices instead of {theirs}" if ours != theirs else ""


def _statistics(
    plan: _Plan,
    ours: dict[str, str],
    theirs: dict[str, str],
    source: Config,
    config: Config,
) -> list[str]:
    """Choose the normalizer statistics to copy; return the names of their leaves.

    Observation statistics are copied with the part that reads them. Return statistics
    are copied only if the rewards are the same: they average over everything seen, so
    adapting to rewards of another scale would take as long again.
    """
    reads = {"image": _IMAGE, "measurements": _MEASUREMENTS, "variables": _VARIABLES}
    names: list[str] = []
    seen = [
        name
        for name in {leaf.split(".")[2] for leaf in ours if ".obs." in leaf}
        if {reads.get(name), "" if name == "variables" else _ENCODER} & {*plan.taken}
    ]
    for name in seen:
        root = f"normalizer.obs.{name}."
        leaves = {leaf: shape for leaf, shape in ours.items() if leaf.startswith(root)}
        if all(theirs.get(leaf) == shape for leaf, shape in leaves.items()):
            names += leaves
    if names:
        plan.taken.append("observation statistics")
    if not config.ppo.normalize_returns:
        return names
    if init_from.same_rewards(source, config):
        names += [leaf for leaf in ours if leaf.startswith("normalizer.returns.")]
        plan.taken.append("return statistics")
    else:
        plan.fresh.append("return statistics (rewards differ)")
    return names


def _other_heads(source: Config, config: Config) -> str | None:
    """Return how the actions differ: "" if only in their buttons, None if not at all.

    A checkpoint shows only the number of logits. For built-in scenarios, more is known
    from their table, which is read without importing anything.
    """
    names = (source.env.scenario, config.env.scenario)
    if names[0] == names[1] or not {*names} <= {*scenario_table.names()}:
        return None
    theirs, ours = (_heads_of(name) for name in names)
    if theirs == ours:
        return None
    sizes = [" x ".join(str(len(head)) for head in heads) for heads in (ours, theirs)]
    if sizes[0] == sizes[1]:
        return ""
    return f"{sizes[0]} choices instead of {sizes[1]}"


def _heads_of(scenario: str) -> tuple[Head, ...]:
    row = scenario_table.find(scenario)
    return row.action_heads(row.load())


def _named(plan: _Plan) -> str:
    """List what is copied; a completely copied encoder is one entry."""
    taken = [part for part in plan.taken if part not in _ENCODERS]
    encoders = [part for part in _ENCODERS if part in plan.ours]
    if {*encoders} <= {*plan.taken}:
        encoders = [_ENCODER]
    else:
        encoders = [part for part in encoders if part in plan.taken]
    if plan.other_buttons and _POLICY in taken:
        at = taken.index(_POLICY)
        taken[at] = f"{_POLICY} (its choices press other buttons in the source)"
    return ", ".join([*encoders, *taken])


def _shown(name: str) -> str:
    """Return a run's name, relative to the working directory if it is inside."""
    here = f"{os.getcwd()}{os.sep}"
    return name.removeprefix(here)


def _sizes(array: np.ndarray) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def _plainly(shape: str) -> str:
    return shape.partition("[")[2].rstrip("]").replace(",", "x") or shape
