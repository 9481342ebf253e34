"""Evaluating a trained agent: its score over full episodes, and a video."""

# ruff: noqa: T201 - the command's own table is printed here.

import dataclasses
import datetime
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints.policy import TrainedPolicy, load_policy, with_variables_of
from jaxfactory.checkpoints.saved_run import BEST, load_for_evaluation, policy_run
from jaxfactory.config import runs
from jaxfactory.config.train import EnvConfig, EvaluateOptions
from jaxfactory.envs import family
from jaxfactory.envs.pool import open_pool
from jaxfactory.evaluation import evaluation_file
from jaxfactory.evaluation.video import Recording, write_mp4
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.models.encoders import EncoderClass
from jaxfactory.rollout.episode import Episode, ended_episodes
from jaxfactory.rollout.policy import Act
from jaxfactory.scenarios.maps import map_record
from jaxfactory.scenarios.scenario import Scenario


class Evaluation(NamedTuple):
    """Episodes of an agent.

    Attributes:
        episodes: By environment, in order.
        recording: Environment 0's episodes; in a match, those of all its agents.
    """

    episodes: list[list[Episode]]
    recording: Recording

    @property
    def all_episodes(self) -> list[Episode]:
        """The episodes of all environments."""
        return [episode for row in self.episodes for episode in row]


class Score(NamedTuple):
    """The result of an evaluation, as written to disk.

    Attributes:
        result: The content of evaluation.json.
        path: Path of that file.
        notes: About the map and the other files written, one sentence each.
    """

    result: dict[str, Any]
    path: Path
    notes: list[str]


def run(
    options: EvaluateOptions, *, scenario: Scenario | None = None
) -> dict[str, Any]:
    """Evaluate, print the table, write evaluation.json and the video.

    Args:
        options: Which checkpoint to evaluate, and how.
        scenario: Scenario to use instead of the one that `options` or the run name.

    Returns:
        The content of evaluation.json.
    """
    result, path, notes = score(options, scenario=scenario)
    _print_table(result)
    print(f"written to {path}")
    for note in notes:
        print(note)
    return result


def score(
    options: EvaluateOptions,
    *,
    encoder: EncoderClass | None = None,
    scenario: Scenario | None = None,
) -> Score:
    """Evaluate; write evaluation.json and the video.

    Args:
        options: Which checkpoint to evaluate, and how.
        encoder: The run's custom encoder, if it cannot be found by its name.
        scenario: Scenario to use instead of the one that `options` or the run name.
    """
    chosen = policy_run(options.run, options.policy)
    options = dataclasses.replace(options, run=chosen, policy=BEST)
    saved = load_for_evaluation(options.run, options.checkpoint)
    name = scenario.name if scenario else options.scenario or saved.config.env.scenario
    env = saved.config.env
    trained, chosen = (family.of(x) for x in (env.scenario, scenario or name))
    if trained is not chosen:
        raise UserError(
            f"the run {options.run} was trained on {env.scenario} and cannot be "
            f"evaluated on {name}: their kinds of environments differ"
        )
    if scenario is None:
        env = dataclasses.replace(env, scenario=name)
    if options.map is not None:
        place = Path(options.map).expanduser().absolute()
        env = dataclasses.replace(env, map=str(place))
    elif Path(name).name != Path(saved.config.env.scenario).name:
        # The run's own map belongs to the run's own scenario.
        env = dataclasses.replace(env, map=None)
    if options.allow_game_args:
        env = dataclasses.replace(env, allow_game_args=True)
    env = env_for(env, min(options.num_envs, options.episodes), scenario)
    if options.render_mp4 and scenario is None:
        family.check(env, video=True)  # Before the episodes, not after them.
    # Seeds that training never uses: those are below 2^32.
    environment = family.resolve(env, scenario)
    with open_pool(environment, seed=2**32 + options.seed) as pool:
        shape = saved.config.network
        if options.encoder:
            shape = dataclasses.replace(shape, encoder=options.encoder)
        spec = with_variables_of(saved, pool.spec)
        network = ActorCritic(spec, shape, encoder)
        evaluation = run_episodes(pool, load_policy(saved, network), options)
    episodes = evaluation.all_episodes
    path = options.run / "evaluation.json"
    evaluation_file.check_returns(episodes, path)
    if options.checkpoint.isdigit():
        # The frames of the checkpoint itself, not of the multiple that stands for it.
        options = dataclasses.replace(options, checkpoint=str(saved.frames))
    result = _result(name, saved.frames, options, episodes)
    notes = _add_map(result, options.run, environment)
    runs.write_atomically(path, json.dumps(result, indent=2) + "\n")
    if options.render_mp4:
        video = options.run / "evaluation.mp4"
        first = first_episode(evaluation.recording, env.frame_skip)
        seconds = write_mp4(env, first, video, scenario)
        notes.append(
            f"video of an episode (raw return {first.raw_returns[0]:.2f}, "
            f"{seconds:.1f} s) written to {video}"
        )
    return Score(result, path, notes)


def env_for(
    env: EnvConfig, num_envs: int, scenario: Scenario | None = None
) -> EnvConfig:
    """Return the environments of an evaluation: about `num_envs`, in one group."""
    kind = family.of(scenario or env.scenario)
    return kind.with_num_envs(env, num_envs, scenario)


def run_episodes(
    pool: Any, policy: TrainedPolicy, options: EvaluateOptions, act: Act | None = None
) -> Evaluation:
    """Run a fixed number of episodes in each environment.

    The number is fixed in advance: taking the first episodes that end in any
    environment would favor short ones.

    Args:
        pool: The environments.
        policy: The agent.
        options: Number of episodes, seed, and whether actions are sampled.
        act: What `make_act` returned for the same network, to avoid compiling again.
    """
    act = act or policy.make_act(deterministic=options.deterministic)
    key = jax.random.key(options.seed)
    parts = np.array_split(np.arange(options.episodes), pool.num_envs)
    shares = [len(part) for part in parts]
    episodes: list[list[Episode]] = [[] for _ in shares]
    actions = []
    agents = pool.match.agents if pool.match else 1
    carry = policy.network.initial_carry(pool.num_envs)
    step = pool.reset()
    count = 0
    while any(len(row) < share for row, share in zip(episodes, shares)):
        action, _, _, carry = act(
            policy.params,
            policy.normalizer,
            step.observation,
            carry,
            step.is_first,
            key,
            np.uint32(count),
        )
        action = np.asarray(action)
        if len(episodes[0]) < shares[0]:
            actions.append(action[:agents])
        step = pool.step(action)
        count += 1
        for row, episode in ended_episodes(step):
            if len(episodes[row]) < shares[row]:
                episodes[row].append(episode)
    recording = Recording(
        seed=pool.seeds[0],
        actions=np.stack(actions),
        lengths=tuple(episode.length for episode in episodes[0]),
        raw_returns=tuple(episode.raw_return for episode in episodes[0]),
    )
    return Evaluation(episodes, recording)


def first_episode(recording: Recording, frame_skip: int) -> Recording:
    """Return the part of a recording that is its first episode."""
    # Each action lasts `frame_skip` tics, except one that the episode's end cut short.
    decisions = -(-recording.lengths[0] // frame_skip)
    return recording._replace(
        actions=recording.actions[:decisions],
        lengths=recording.lengths[:1],
        raw_returns=recording.raw_returns[:1],
    )


def _result(
    scenario: str, frames: int, options: EvaluateOptions, episodes: list[Episode]
) -> dict[str, Any]:
    return {
        "scenario": scenario,
        "frames_trained": frames,
        "checkpoint": options.checkpoint,
        "deterministic": options.deterministic,
        "seed": options.seed,
        "episodes": len(episodes),
        # The same seed gives the same episodes only with as many environments.
        "num_envs": min(options.num_envs, options.episodes),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "raw_return": _summary([e.raw_return for e in episodes]),
        "shaped_return": _summary([e.shaped_return for e in episodes]),
        "length": _summary([float(e.length) for e in episodes]),
        "truncated": sum(e.truncated for e in episodes),
        **_match_result(episodes),
        "each": [e._asdict() for e in episodes],
    }


def _add_map(
    result: dict[str, Any], run: Path, environment: family.ResolvedEnv
) -> list[str]:
    """Add the map file to a result; return notes about it."""
    used, trained = environment.map_file(), map_record.trained_on(run)
    if used is None:
        return []
    result["map"] = used.as_dict()
    result["trained_on"] = [map_file.as_dict() for map_file in trained]
    return environment.map_notes(used, trained)


def _match_result(episodes: list[Episode]) -> dict[str, Any]:
    """Return the metrics of matches; none for other episodes."""
    if not any(e.place for e in episodes):
        return {}
    return {
        "frags": _summary([float(e.frags) for e in episodes]),
        "place": _summary([float(e.place) for e in episodes]),
        "first_places": sum(e.place == 1 for e in episodes),
    }


def _summary(values: list[float]) -> dict[str, float]:
    mean, std = float(np.mean(values)), float(np.std(values))
    return {
        "mean": mean,
        "std": std,
        "mean_minus_std": mean - std,
        "min": float(np.min(values)),
        "max": float(np.max(values)),
    }


def _print_table(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    how = "most probable actions" if result["deterministic"] else "sampled actions"
    table = Table(
        "", "mean", "std error", "std", "mean - std", "min", "max",
        title=f"{escape(result['scenario'])}, "
        f"{result['frames_trained']:,} frames trained, "
        f"{result['episodes']} episodes, {how}",
    )  # fmt: skip
    for column in table.columns[1:]:
        column.justify = "right"
    for name, title in evaluation_file.summary_titles(result["scenario"]).items():
        row = result.get(name)
        if row is None:
            continue
        mean, *others = row.values()
        numbers = (mean, evaluation_file.standard_error(result, name), *others)
        table.add_row(title, *(f"{value:.2f}" for value in numbers))
    Console().print(table)
    if "first_places" in result:
        print(f"first in {result['first_places']} of {result['episodes']} episodes")
