"""Where Sample Factory's experiments keep what, and reading it.

An experiment is a directory with a config.json, once called cfg.json, and a folder
checkpoint_pN of .pth files for each policy N, mostly one. Each file is a dictionary
with the model, the optimizer and how far training had come. With population-based
training policy_NN_cfg.json has the settings in which a policy has come to differ.
"""

import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxfactory._util import plain_files, plain_json
from jaxfactory._util.errors import UserError
from jaxfactory.config.train import MAX_FRAMES
from jaxfactory.sample_factory import torch_file
from jaxfactory.sample_factory.optimizer import is_finite
from jaxfactory.sample_factory.settings import Settings


# The second was its name once.
_CONFIGS = ("config.json", "cfg.json")
_FOLDER = "checkpoint_p"
# Settings that no other program's config.json has all of.
_SIGNS = ("env", "encoder_conv_architecture", "rnn_size", "ppo_clip_ratio")
# What population-based training changes.
_MUTATED = (
    "learning_rate", "exploration_loss_coeff", "value_loss_coeff", "max_grad_norm",
    "ppo_clip_ratio", "ppo_clip_value", "gamma",
)  # fmt: skip
# best_<updates>_<frames>_<metric>_<value>.pth
_BEST = re.compile(r"best_\d+_\d+_.*_(-?\d+\.\d+)\.pth")


class Choice(NamedTuple):
    """A checkpoint that was chosen.

    Attributes:
        file: The .pth file.
        policy: The number of its policy; None if its folder does not tell.
        note: A sentence if there were other policies, else "".
    """

    file: Path
    policy: int | None
    note: str


def is_experiment(path: Path) -> bool:
    """Whether a directory is an experiment of Sample Factory with a checkpoint."""
    try:
        read_settings(path)
    except UserError:
        return False
    return bool(_policies(path))


def find_checkpoint(path: Path, policy: int | None = None) -> Choice:
    """Return the .pth file that a path stands for.

    Args:
        path: An experiment, the folder of one of its policies, or a .pth file.
        policy: Which policy; by default the one whose best checkpoint has the highest
            reward in its name, the first of them where none has one.

    Raises:
        UserError: If there is none, or it is of another policy.
    """
    if not path.exists():
        raise UserError(f"there is no file or directory {path}")
    if path.is_file():
        found = _policy_above(path)
        if policy is not None and found != policy:
            raise UserError(
                f"{path} is not of policy {policy}; leave --policy out, or name the "
                "experiment's directory"
            )
        return Choice(path, found, "")
    policies = _policies(path)
    if not policies:
        raise UserError(
            f"{path} is no experiment of Sample Factory: it has no {_FOLDER}0/*.pth"
        )
    if policy is not None:
        if policy not in policies:
            raise UserError(
                f"{path} has no policy {policy}; it has {_listed(policies)}"
            )
        return Choice(policies[policy][-1], policy, "")
    # The first of those that are equally good.
    chosen = max(policies, key=lambda number: (_reward(policies[number][-1]), -number))
    file = policies[chosen][-1]
    if len(policies) == 1:
        return Choice(file, chosen, "")
    reward = _reward(file)
    reason = f"whose best reward, {reward:g}, is the highest"
    if reward == -math.inf:
        reason = "as no name of a file tells its reward"
    note = (
        f"policy {chosen} of {_listed(policies)} was taken, {reason}; --policy takes "
        "another"
    )
    return Choice(file, chosen, note)


def _listed(policies: dict[int, list[Path]]) -> str:
    return ", ".join(map(str, policies))


def _policies(path: Path) -> dict[int, list[Path]]:
    """Return each policy's checkpoints, those to prefer last, in order of numbers."""
    folders = [path] if _number(path) is not None else path.glob(f"{_FOLDER}*")
    found = {_number(folder): _checkpoints(folder) for folder in folders}
    return {
        number: found[number]
        for number in sorted(number for number in found if number is not None)
        if found[number]
    }


def _number(folder: Path) -> int | None:
    """Return the policy whose folder it is, None if it is no policy's."""
    digits = folder.name.removeprefix(_FOLDER)
    is_one = folder.name.startswith(_FOLDER) and digits.isascii() and digits.isdigit()
    return int(digits) if is_one and len(digits) <= 4 else None


def _policy_above(file: Path) -> int | None:
    numbers = [_number(folder) for folder in list(file.absolute().parents)[:2]]
    return next((number for number in numbers if number is not None), None)


def _checkpoints(folder: Path) -> list[Path]:
    # Their names begin with the number of updates, filled up with zeros.
    best = sorted(folder.glob("best_*.pth"), key=lambda file: (_reward(file), file))
    return [*sorted(folder.glob("checkpoint_*.pth")), *best]


def _reward(file: Path) -> float:
    """Return the reward in a best checkpoint's name, minus infinity without one."""
    match = _BEST.fullmatch(file.name)
    return float(match[1]) if match else -math.inf


def experiment_of(file: Path) -> Path:
    """Return the directory of the experiment that a .pth file belongs to."""
    # In the directory itself, in checkpoint_p0, or in checkpoint_p0/milestones.
    for folder in list(file.absolute().parents)[:3]:
        if any((folder / name).is_file() for name in _CONFIGS):
            return folder
    raise UserError(
        f"there is no {_CONFIGS[0]} beside {file} or above it; Sample Factory keeps "
        "one in the experiment's directory"
    )


def read_settings(path: Path, policy: int | None = None) -> Settings:
    """Return the settings of the experiment in a directory.

    Args:
        path: The experiment, or the folder of one of its policies.
        policy: Whose own settings replace those of all policies.

    Raises:
        UserError: If it has none, or they cannot be read.
    """
    folder = path.parent if _number(path) is not None else path
    for name in _CONFIGS:
        file = folder / name
        if not file.is_file():
            continue
        values = plain_json.read_object(file, limit=plain_json.MIB)
        missing = [sign for sign in _SIGNS if sign not in values]
        if missing:
            raise UserError(
                f"{file} is not of Sample Factory 2: it has no {missing[0]}; only its "
                "agents can be imported"
            )
        own = folder / f"policy_{policy or 0:02d}_cfg.json"
        if policy is not None and own.is_file():
            changed = plain_json.read_object(own, limit=plain_json.MIB)
            values |= {key: changed[key] for key in _MUTATED if key in changed}
        return Settings(values, file)
    raise UserError(f"{path} is no experiment of Sample Factory: no {_CONFIGS[0]}")


class Checkpoint:
    """What a .pth file holds."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.values = torch_file.load(file)
        if not isinstance(self.values, dict) or not isinstance(
            self.values.get("model"), dict
        ):
            raise UserError(
                f"{file} is no checkpoint of Sample Factory: it has no model"
            )

        for name, array in self.values["model"].items():
            if not isinstance(name, str) or not plain_files.is_plain(name):
                raise UserError(f"{file}: {name!r:.60} in its model is no name")
            if not isinstance(array, np.ndarray):
                raise UserError(f"{file}: {name:.100} in its model is not an array")
            if not is_finite(array):
                raise UserError(
                    f"{file}: {name:.100} in its model is NaN, infinite or too large, "
                    "so that the agent cannot act; take another checkpoint of it"
                )

    def model(self) -> dict[str, np.ndarray]:
        """Return the state dictionary; its numbers are finite in float32."""
        return self.values["model"]

    def number(self, name: str, default: float, most: int = MAX_FRAMES) -> float:
        """Return a number, the default where there is none.

        Raises:
            UserError: If it is negative, too large, or NaN.
        """
        value = self.values.get(name, default)
        if type(value) not in (int, float):
            return default
        if not 0 <= value <= most:
            limit = "2^53" if most == MAX_FRAMES else f"{most:,}"
            raise UserError(
                f"{self.file}: its {name} is {value:g} and must lie between 0 and "
                f"{limit}"
            )
        return float(value)

    def frames(self, settings: Settings) -> int:
        """Return the frames that it was trained for."""
        steps = int(self.number("env_steps", 0.0))
        if settings.get("summaries_use_frameskip", True):
            return steps
        frames = steps * settings.get("env_frameskip", 4)
        if not 0 <= frames <= MAX_FRAMES:
            raise UserError(
                f"{self.file}: its env_steps are {frames} frames, which must lie "
                "between 0 and 2^53"
            )
        return frames
