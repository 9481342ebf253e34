"""The Python API of the commands: `train`, `evaluate` and `load`.

JAX and everything that needs it are imported inside the functions, after the setup that
must precede the start of JAX.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxfactory.config.train import Config, EvaluateOptions


if TYPE_CHECKING:
    import jaxfactory.evaluation.agent
    import jaxfactory.ppo.learner
    import jaxfactory.scenarios.scenario


def train(
    config: Config,
    run: str | Path,
    *,
    encoder: Any = None,
    scenario: "str | jaxfactory.scenarios.scenario.Scenario | None" = None,
    init_from: str | Path | None = None,
    callbacks: Sequence[Callable[..., Any]] = (),
    show: bool = False,
) -> "jaxfactory.ppo.learner.TrainState":
    """Train an agent, or resume a run.

    Args:
        config: All settings.
        run: Directory of the run, created if it does not exist: settings, metrics,
            TensorBoard files, checkpoints. An existing run is resumed from its last
            checkpoint.
        encoder: Your own Flax NNX class that encodes observations; see
            `examples/own_network.py` for its contract. Recorded by its name, so that
            `evaluate` and `load` find it. Equivalent to `NetworkConfig.encoder`.
        scenario: Your own scenario, instead of the one that `config` names.
        init_from: Another run's directory, or user/repo on the Hugging Face Hub: a new
            run starts from its weights, as far as they fit `config`
            (`jaxfactory.training.init_from.with_settings_of` makes them fit).
            Equivalent to `Config.init_from`.
        callbacks: Functions that are called with a `jaxfactory.Iteration` after every
            update, and may return metrics, a dictionary of numbers, to be written with
            the others. ``iteration.stop(reason)`` ends training.
        show: Print progress, as the command does.

    Returns:
        The final state; of several policies, that of the best one. It is also saved;
        `load` reads it as an agent.

    Raises:
        UserError: If the settings, the run or the encoder do not fit.
        UserCodeError: If a callback or the encoder raises; after saving.

    Examples:
        >>> import jaxfactory
        >>> config = jaxfactory.Config(
        ...     env=jaxfactory.EnvConfig(scenario="basic", num_envs=4),
        ...     network=jaxfactory.NetworkConfig(
        ...         conv_channels=(4, 8, 8), hidden_size=16, core_size=16
        ...     ),
        ...     ppo=jaxfactory.PPOConfig(num_steps=8),
        ...     total_frames=256,
        ... )
        >>> state = jaxfactory.train(config, "runs/tiny")
        >>> state.frames
        256
    """
    _prepare_jax()
    from jaxfactory.metrics.terminal_writer import TerminalWriter
    from jaxfactory.training.loop import train as run_training

    run = Path(run)
    if init_from is not None:
        config = dataclasses.replace(config, init_from=str(init_from))
    return run_training(
        config,
        run,
        writer=TerminalWriter(
            run, config.total_frames, policies=config.population.num_policies
        )
        if show
        else None,
        encoder=encoder,
        scenario=scenario,
        callbacks=callbacks,
    )


def evaluate(
    run: str | Path,
    *,
    checkpoint: str | int = "best",
    policy: str | int = "best",
    episodes: int = 100,
    num_envs: int = 20,
    deterministic: bool = False,
    seed: int = 1000,
    render_mp4: bool = False,
    encoder: Any = None,
    scenario: "jaxfactory.scenarios.scenario.Scenario | None" = None,
    map: str | Path | None = None,
) -> dict[str, Any]:
    """Evaluate a trained agent over full episodes and return its score.

    Also written to the run's evaluation.json, and the video to its evaluation.mp4.

    Args:
        run: The run's directory.
        checkpoint: ``"best"``, the one with the best mean return in training,
            ``"latest"``, or the frames of one that ``keep_every`` kept.
        policy: Of a run of several policies, ``"best"`` or the number of one. Results
            are written to that policy's directory.
        episodes: Number of episodes; each environment runs a fixed share of them.
        num_envs: Environments stepped in parallel.
        deterministic: Take the most probable actions instead of sampling.
        seed: Seed of the episodes and of the sampled actions.
        render_mp4: Record a video of an episode.
        encoder: The run's custom encoder, if it cannot be found by its name.
        scenario: Scenario to use instead of the run's.
        map: Map file (.wad) to use instead of the run's own.

    Returns:
        ``raw_return``, ``shaped_return`` and ``length`` with their ``mean``, ``std``,
        ``mean_minus_std``, ``min`` and ``max``; ``each`` episode, the ``map`` file, and
        the options of the evaluation.

    Raises:
        UserError: If there is no such run or checkpoint.

    Examples:
        >>> import jaxfactory
        >>> score = jaxfactory.evaluate("runs/tiny", episodes=2, num_envs=2)
        >>> score["episodes"], score["frames_trained"]
        (2, 256)
        >>> score["raw_return"]["min"] <= score["raw_return"]["mean"]
        True
    """
    options = EvaluateOptions(
        run=Path(run),
        checkpoint=str(checkpoint),
        policy=str(policy),
        episodes=episodes,
        num_envs=num_envs,
        deterministic=deterministic,
        seed=seed,
        render_mp4=render_mp4,
        map=None if map is None else str(map),
    )
    _prepare_jax()
    from jaxfactory.evaluation.evaluate import score

    return score(options, encoder=encoder, scenario=scenario).result


def load(
    run: str | Path,
    *,
    checkpoint: str | int = "best",
    policy: str | int = "best",
    seed: int = 0,
    encoder: Any = None,
) -> "jaxfactory.evaluation.agent.Agent":
    """Load a run's trained agent.

    Args:
        run: The run's directory.
        checkpoint: ``"best"``, the one with the best mean return in training,
            ``"latest"``, or the frames of one that ``keep_every`` kept.
        policy: Of a run of several policies, ``"best"`` or the number of one.
        seed: Seed of the sampled actions.
        encoder: The run's custom encoder, if it cannot be found by its name.

    Raises:
        UserError: If there is no such run or checkpoint.

    Examples:
        >>> import jaxfactory
        >>> import numpy as np
        >>> agent = jaxfactory.load("runs/tiny")
        >>> obs = np.zeros((3, 72, 128, 3), np.uint8)
        >>> action, carry = agent.act(obs, agent.initial_carry(3))
        >>> action.shape, agent.values(obs, carry).shape
        ((3, 1), (3,))
    """
    _prepare_jax()
    from jaxfactory.evaluation.agent import load_agent

    return load_agent(
        Path(run), str(checkpoint), policy=str(policy), seed=seed, encoder=encoder
    )


def _prepare_jax() -> None:
    from jaxfactory._util import jax_setup

    jax_setup.configure()
