"""Translates Sample Factory's settings into jaxfactory's.

An experiment stores all its command-line flags in config.json. Flags with the same
meaning are translated. A note reports each flag without a counterpart that would affect
resumed training.
"""

from typing import Any, NamedTuple

from jaxfactory._util import plain_files
from jaxfactory._util.errors import UserError
from jaxfactory.config.presets import PRESETS
from jaxfactory.config.train import (
    MAX_FRAMES,
    Config,
    EnvConfig,
    NetworkConfig,
    PPOConfig,
)


# Names of Sample Factory's Doom environments that are not doom_<jaxfactory's name>.
_OTHER_NAMES = {
    "doom_my_way_home_flat_actions": "my_way_home_flat",
    "doom_defend_the_center_flat_actions": "defend_the_center_flat",
}
_KL_ADAPTIVE = ("kl_adaptive_epoch", "kl_adaptive_minibatch")
_MEANINGS = {
    int: "a whole number", float: "a number", bool: "true or false",
    str: "a short text", list: "a short list",
}  # fmt: skip
_LONGEST = 256
# The largest number in float32, rounded down.
_LARGEST = 3e38


class Settings:
    """Sample Factory's settings, read with type checks.

    Args:
        values: The contents of config.json.
        source: The file's name for error messages.
    """

    def __init__(self, values: dict[str, Any], source: Any) -> None:
        self.values = values
        self.source = source

    def get(self, name: str, default: Any) -> Any:
        """Return a setting of the default's type, or the default if it is missing.

        Raises:
            UserError: If it has another type.
        """
        value = self.values.get(name)
        if value is None:
            return default
        kind = type(default)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind or not _is_sound(value):
            meaning = _MEANINGS.get(kind, kind.__name__)
            raise UserError(f"{self.source}: {name} is {value!r:.60} and not {meaning}")
        return value


def _is_sound(value: Any) -> bool:
    """Whether a value is small enough to compute with, look up and display."""
    if isinstance(value, list):
        plain = all(type(item) in (bool, int, float, str) for item in value)
        return plain and len(value) <= _LONGEST and all(map(_is_sound, value))
    if isinstance(value, str):
        return len(value) <= _LONGEST and plain_files.is_plain(value)
    return abs(value) <= _LARGEST


class Translated(NamedTuple):
    """The translated settings.

    Attributes:
        notes: Sentences about settings that could not be translated.
    """

    config: Config
    notes: list[str]


def scenario_name(settings: Settings) -> str | None:
    """Return jaxfactory's name of the experiment's Doom environment, or None."""
    name = settings.get("env", "")
    if name in _OTHER_NAMES:
        return _OTHER_NAMES[name]
    return name.removeprefix("doom_") if name.startswith("doom_") else None


def translate(
    settings: Settings, network: NetworkConfig, scenario: str, learning_rate: float
) -> Translated:
    """Return the settings of a run that resumes an experiment.

    Args:
        settings: Sample Factory's settings.
        network: The shape of the checkpoint's network.
        scenario: The scenario's name in jaxfactory.
        learning_rate: The learning rate at the checkpoint.

    Raises:
        UserError: If a value is not supported.
    """
    ppo = _ppo(settings, learning_rate)
    config = Config(
        env=_env(settings, scenario, ppo),
        network=network,
        ppo=ppo,
        total_frames=min(
            max(1, settings.get("train_for_env_steps", 10**10)), MAX_FRAMES
        ),
        checkpoint_minutes=max(1, settings.get("save_every_sec", 120)) / 60,
    )
    return Translated(config, _notes(settings))


def _env(settings: Settings, scenario: str, ppo: PPOConfig) -> EnvConfig:
    steps = settings.get("batch_size", 1024) * ppo.num_minibatches
    # Choose the environments so that a rollout has as many samples as one iteration.
    num_envs = max(1, steps // ppo.num_steps)
    wide = settings.get("wide_aspect_ratio", False)
    # Lower values mean the scenario's own number.
    agents, bots = settings.get("num_agents", -1), settings.get("num_bots", -1)
    return EnvConfig(
        scenario=scenario,
        num_envs=num_envs,
        num_groups=1 if num_envs % 2 else 2,
        frame_skip=settings.get("env_frameskip", 4),
        width=settings.get("res_w", 128),
        height=settings.get("res_h", 72),
        screen_width=256 if wide else 160,
        screen_height=144 if wide else 120,
        reward_scale=settings.get("reward_scale", 1.0),
        reward_clip=_reward_clip(settings),
        num_agents=agents if agents > 0 else None,
        num_bots=bots if bots >= 0 else None,
    )


def _reward_clip(settings: Settings) -> float:
    bound = settings.get("reward_clip", 1000.0)
    if bound <= 0:  # 0 means "no clipping" here and "no reward" in Sample Factory.
        raise UserError(
            f"{settings.source}: reward_clip {bound} must be greater than 0"
        )
    return bound


def _ppo(settings: Settings, learning_rate: float) -> PPOConfig:
    base = PRESETS["reference"].ppo
    if settings.get("lr_schedule", "constant") == "linear_decay":
        # The schedule starts from the rate at the start of the experiment.
        learning_rate = settings.get("learning_rate", base.learning_rate)
    return PPOConfig(
        num_steps=settings.get("rollout", base.num_steps),
        num_minibatches=settings.get("num_batches_per_epoch", base.num_minibatches),
        num_epochs=settings.get("num_epochs", base.num_epochs),
        learning_rate=learning_rate,
        lr_schedule="constant",
        schedule=_schedule(settings),
        **_adaptation(settings),
        adam_betas=(
            settings.get("adam_beta1", base.adam_betas[0]),
            settings.get("adam_beta2", base.adam_betas[1]),
        ),
        adam_eps=settings.get("adam_eps", base.adam_eps),
        max_grad_norm=settings.get("max_grad_norm", base.max_grad_norm),
        gamma=settings.get("gamma", base.gamma),
        gae_lambda=settings.get("gae_lambda", base.gae_lambda),
        advantages="vtrace" if settings.get("with_vtrace", False) else "gae",
        clip_eps=settings.get("ppo_clip_ratio", base.clip_eps),
        value_clip=settings.get("ppo_clip_value", base.value_clip),
        vf_coef=settings.get("value_loss_coeff", base.vf_coef),
        exploration=_exploration(settings),
        ent_coef=settings.get("exploration_loss_coeff", base.ent_coef),
        kl_coef=settings.get("kl_loss_coeff", base.kl_coef),
        normalize_obs=settings.get("normalize_input", base.normalize_obs),
        normalize_returns=settings.get("normalize_returns", base.normalize_returns),
        bootstrap_truncated=settings.get("value_bootstrap", base.bootstrap_truncated),
    )


def _schedule(settings: Settings) -> tuple[str, ...]:
    """Return the value of ``--schedule``: a linear decay ends at 0."""
    decays = settings.get("lr_schedule", "constant") == "linear_decay"
    return ("learning_rate=linear:0",) if decays else ()


def _adaptation(settings: Settings) -> dict[str, Any]:
    """Return the settings of a learning rate that follows the KL divergence."""
    if settings.get("lr_schedule", "constant") not in _KL_ADAPTIVE:
        return {}
    return {
        "kl_target": settings.get("lr_schedule_kl_threshold", 0.008),
        "kl_lr_range": (
            settings.get("lr_adaptive_min", 1e-6),
            settings.get("lr_adaptive_max", 1e-2),
        ),
    }


def _exploration(settings: Settings) -> Any:
    kind = settings.get("exploration_loss", "symmetric_kl")
    if kind not in ("symmetric_kl", "entropy"):
        raise UserError(
            f"{settings.source}: exploration_loss is {kind!r}; jaxfactory supports "
            "symmetric_kl and entropy only"
        )
    return kind


def _notes(settings: Settings) -> list[str]:
    """Return notes on how resumed training will differ."""
    schedule = settings.get("lr_schedule", "constant")
    notes = []
    if schedule not in ("constant", "linear_decay", *_KL_ADAPTIVE):
        notes.append(
            f"lr_schedule {schedule} has no counterpart: training resumes with constant"
        )
    rollout = settings.get("rollout", 32)
    recurrence = settings.get("recurrence", -1)
    if settings.get("use_rnn", True) and recurrence not in (-1, rollout):
        notes.append(
            f"recurrence {recurrence} has no counterpart: training resumes with "
            f"chunks of the full rollout, {rollout}"
        )
    return notes
