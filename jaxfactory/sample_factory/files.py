"""Finds and reads the files of a Sample Factory experiment.

An experiment is a directory with a config.json (cfg.json in older versions) and one
folder checkpoint_pN of .pth files for each policy N; usually there is one policy. Each
.pth file is a dictionary with the model, the optimizer state and the training progress.
With population-based training, policy_NN_cfg.json has the settings that differ for
policy NN.
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


# The second name is that of older versions.
_CONFIGS = ("config.json", "cfg.json")
_FOLDER = "checkpoint_p"
# Only a config.json of Sample Factory has all of these settings.
_SIGNS = ("env", "encoder_conv_architecture", "rnn_size", "ppo_clip_ratio")
# Settings that population-based training changes.
_MUTATED = (
    "learning_rate", "exploration_loss_coeff", "value_loss_coeff", "max_grad_norm",
    "ppo_clip_ratio", "ppo_clip_value", "gamma",
)  # fmt: skip
# best_<updates>_<frames>_<metric>_<value>.pth
_BEST = re.compile(r"best_\d+_\d+_.*_(-?\d+\.\d+)\.pth")


class Choice(NamedTuple):
    """The chosen checkpoint.

    Attributes:
        file: The .pth file.
        policy: The number of its policy; None if the folder's name does not have it.
        note: A sentence if there are other policies, else "".
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
    """Return the .pth file to import.

    Args:
        path: An experiment, the folder of one of its policies, or a .pth file.
        policy: The policy; by default the one whose best checkpoint has the highest
            reward in its name, or the first if no name has a reward.

    Raises:
        UserError: If there is none, or it belongs to another policy.
    """
    if not path.exists():
        raise UserError(f"there is no file or directory {path}")
    if path.is_file():
        found = _policy_above(path)
        if policy is not None and found != policy:
            raise UserError(
                f"{path} does not belong to policy {policy}; leave out --policy, or "
                "give the experiment's directory"
            )
        return Choice(path, found, "")
    policies = _policies(path)
    if not policies:
        raise UserError(
            f"{path} is not a Sample Factory experiment: it has no {_FOLDER}0/*.pth"
        )
    if policy is not None:
        if policy not in policies:
            raise UserError(
                f"{path} has no policy {policy}; it has {_listed(policies)}"
            )
        return Choice(policies[policy][-1], policy, "")
    # Ties go to the lowest number.
    chosen = max(policies, key=lambda number: (_reward(policies[number][-1]), -number))
    file = policies[chosen][-1]
    if len(policies) == 1:
        return Choice(file, chosen, "")
    reward = _reward(file)
    reason = f"whose best reward, {reward:g}, is the highest"
    if reward == -math.inf:
        reason = "because no file name has a reward"
    note = (
        f"policy {chosen} of {_listed(policies)} was imported, {reason}; --policy "
        "chooses another one"
    )
    return Choice(file, chosen, note)


def _listed(policies: dict[int, list[Path]]) -> str:
    return ", ".join(map(str, policies))


def _policies(path: Path) -> dict[int, list[Path]]:
    """Return each policy's checkpoints in order of preference, the best one last."""
    folders = [path] if _number(path) is not None else path.glob(f"{_FOLDER}*")
    found = {_number(folder): _checkpoints(folder) for folder in folders}
    return {
        number: found[number]
        for number in sorted(number for number in found if number is not None)
        if found[number]
    }


def _number(folder: Path) -> int | None:
    """Return the policy number in a folder's name; None for other folders."""
    digits = folder.name.removeprefix(_FOLDER)
    is_one = folder.name.startswith(_FOLDER) and digits.isascii() and digits.isdigit()
    return int(digits) if is_one and len(digits) <= 4 else None


def _policy_above(file: Path) -> int | None:
    numbers = [_number(folder) for folder in list(file.absolute().parents)[:2]]
    return next((number for number in numbers if number is not None), None)


def _checkpoints(folder: Path) -> list[Path]:
    # Names start with the number of updates, padded with zeros.
    best = sorted(folder.glob("best_*.pth"), key=lambda file: (_reward(file), file))
    return [*sorted(folder.glob("checkpoint_*.pth")), *best]


def _reward(file: Path) -> float:
    """Return the reward in a best checkpoint's name; minus infinity without one."""
    match = _BEST.fullmatch(file.name)
    return float(match[1]) if match else -math.inf


def experiment_of(file: Path) -> Path:
    """Return the directory of the experiment that a .pth file belongs to."""
    # It may lie in the directory itself, checkpoint_p0 or checkpoint_p0/milestones.
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
        policy: The policy whose own settings override those of all policies.

    Raises:
        UserError: If there are none, or they cannot be read.
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
                f"{file} is not of Sample Factory 2: it has no {missing[0]}; only "
                "Sample Factory 2 agents can be imported"
            )
        own = folder / f"policy_{policy or 0:02d}_cfg.json"
        if policy is not None and own.is_file():
            changed = plain_json.read_object(own, limit=plain_json.MIB)
            values |= {key: changed[key] for key in _MUTATED if key in changed}
        return Settings(values, file)
    raise UserError(f"{path} is not a Sample Factory experiment: no {_CONFIGS[0]}")


class Checkpoint:
    """The validated contents of a .pth file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.values = torch_file.load(file)
        if not isinstance(self.values, dict) or not isinstance(
            self.values.get("model"), dict
        ):
            raise UserError(
                f"{file} is not a Sample Factory checkpoint: it has no model"
            )
        for name, array in self.values["model"].items():
            if not isinstance(name, str) or not plain_files.is_plain(name):
                raise UserError(f"{file}: {name!r:.60} in its model is not a name")
            if not isinstance(array, np.ndarray):
                raise UserError(f"{file}: {name:.100} in its model is not an array")
            if not is_finite(array):
                raise UserError(
                    f"{file}: {name:.100} in its model is NaN, infinite or too large, "
                    "so that the agent cannot act; import another checkpoint"
                )

    def model(self) -> dict[str, np.ndarray]:
        """Return the model's state dictionary; all numbers are finite in float32."""
        return self.values["model"]

    def number(self, name: str, default: float, most: int = MAX_FRAMES) -> float:
        """Return a number, or the default if it is missing.

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
        """Return the number of frames that the agent was trained for."""
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
