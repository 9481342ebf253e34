"""The README.md of an agent's repository on the Hugging Face Hub.

Its head, in YAML, is read by programs: the Hub's search and the leaderboard of the
well-known course, which finds an agent by its tags and dataset and sorts by the first
metric of the model-index, "mean +/- std".
"""

import re
import shlex
from typing import Any

from jaxfactory.config.train import Config
from jaxfactory.scenarios.maps.map_file import CHOSEN, LOCAL, MapFile


LIBRARY = "jaxfactory"
ALGORITHM = "PPO"
TASK = "reinforcement-learning"
# What stands for what in the score table.
_ROWS = (
    ("raw_return", "raw return"),
    ("shaped_return", "shaped return"),
    ("length", "length (tics)"),
    # Of matches only.
    ("frags", "frags"),
    ("place", "place"),
)


def environment_id(scenario: str) -> str:
    """Return the name by which agents of a scenario are found and compared.

    A Doom scenario is called as in the field's published agents:
    ``doom_health_gathering_supreme``. Gymnasium's environments keep their own names.

    Args:
        scenario: A name of the table, the path of a .cfg file, module:NAME or
            file.py:NAME, or gymnasium:NAME.
    """
    from jaxfactory.envs import family

    return _harmless(family.of(scenario).agent_id(scenario))


def _harmless(text: str) -> str:
    """Return a name of the run's without what is markup in Markdown, HTML or YAML."""
    return re.sub(r"[^\w./:@+ -]", "_", text)


def score(result: dict[str, Any]) -> str:
    """Return the raw return as ``"13.10 +/- 5.70"``, what the leaderboard reads.

    Args:
        result: What ``evaluate`` wrote into evaluation.json.
    """
    own = result["raw_return"]
    return f"{own['mean']:.2f} +/- {own['std']:.2f}"


def make_card(
    repo: str, config: Config, result: dict[str, Any], *, optimizer: bool, video: bool
) -> str:
    """Return the text of README.md.

    Args:
        repo: The repository, user/repo.
        config: The run's settings.
        result: What ``evaluate`` wrote into evaluation.json.
        optimizer: Whether the optimizer's state is in the repository.
        video: Whether replay.mp4 is.
    """
    parts = (
        _head(config, result),
        _introduction(config, result, video=video),
        _scores(config, result),
        _use(repo, config, result),
        _contents(result, optimizer=optimizer, video=video),
    )
    return "\n".join(parts)


def _head(config: Config, result: dict[str, Any]) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    name = environment_id(config.env.scenario)
    entry = EvalResult(
        task_type=TASK,
        task_name=TASK,
        dataset_type=name,
        dataset_name=name,
        metric_type="mean_reward",
        metric_name="mean_reward",
        metric_value=score(result),
        verified=False,
    )
    tags = [LIBRARY, "deep-reinforcement-learning", TASK]
    if name.startswith("doom_"):
        tags += ["vizdoom", "doom"]
    data = ModelCardData(
        library_name=LIBRARY,
        pipeline_tag=TASK,
        tags=[*tags, name],
        model_name=ALGORITHM,
        eval_results=[entry],
    )
    return f"---\n{data.to_yaml()}\n---\n"


def _introduction(config: Config, result: dict[str, Any], *, video: bool) -> str:
    name = environment_id(config.env.scenario)
    env, network = config.env, config.network
    sight = ""
    if name.startswith("doom_"):
        core = "no recurrent core"
        if network.core != "none":
            core = f"a {network.core.upper()} of {network.core_size} units"
        sight = f"""
It sees {env.width}x{env.height} pixels and holds each action for {env.frame_skip} tics;
its network has {core}."""
    shown = " `replay.mp4` shows an episode of it." if video else ""
    return f"""\
# {ALGORITHM} agent for {name}

Trained with jaxfactory for {result["frames_trained"]:,} frames.{shown}{sight}
All settings are in `config.json`.
"""


def _scores(config: Config, result: dict[str, Any]) -> str:
    how = "the most probable actions" if result["deterministic"] else "sampled actions"
    lines = [
        "| | mean | std | mean - std | min | max |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for key, title in _ROWS:
        if key in ("frags", "place") and key not in result:
            continue
        row = result[key]
        cells = [row[k] for k in ("mean", "std", "mean_minus_std", "min", "max")]
        lines.append(f"| {title} | " + " | ".join(f"{x:.2f}" for x in cells) + " |")
    table = "\n".join(lines)
    return f"""\
## Score

{table}

- {result["episodes"]} whole episodes with {how}, of the checkpoint
  `{result["checkpoint"]}`, seed {result["seed"]}, played on {result["date"][:10]}.
- No episode's seed was used in training. Each environment plays a number of episodes
  that is fixed beforehand, so that short ones are not favoured. The time limit ended
  {result["truncated"]} of them.
- The raw return is the scenario's reward as it is, and the score in this card's head;
  the shaped return is what training maximised. The std is over episodes.
{_map(result)}- `evaluation.json` lists every episode.
"""


def _map(result: dict[str, Any]) -> str:
    """Return the line about the map file; "" of environments that have none."""
    if result.get("map") is None:
        return ""
    rows = (result["map"], *(result.get("trained_on") or ()))
    used, *trained_on = map(MapFile.from_dict, rows)
    origin = f"from the package {used.origin}"
    if used.origin in (CHOSEN, LOCAL):
        origin = "a file of the author's"
    names = " and ".join(f"`{_harmless(one.file)}`" for one in trained_on)
    trained = f"; trained on {names}" if names else ""
    return (
        f"- Map file: `{_harmless(used.file)}`, {origin}, SHA-256\n  `{used.sha256}`"
        f"{trained}.\n  Scores on different maps do not compare.\n"
    )


def _use(repo: str, config: Config, result: dict[str, Any]) -> str:
    own, pull_flags = "", ""
    for what, place, flag in (
        ("encoder", config.network.encoder, "--network"),
        ("scenario", config.env.scenario, "--scenario"),
    ):
        if ":" in place and not place.startswith("gymnasium:"):
            pull_flags += f" {flag} FILE.py:NAME"
            name = _harmless(place)
            own += f"""
Its {what} is Python code of its author's, `{name}`, which is not in this repository;
tell `pull` with `{flag}` where yours is.
"""
    if config.env.scenario.startswith("scenario/"):
        pull_flags += " --trust-scenario"
        own += """
Its scenario, a `.cfg` file and perhaps a map, is in `scenario/`. The engine reads such
files without protection, so `--trust-scenario` says that they may be used.
"""
    run = f"runs/{repo.partition('/')[2]}"
    flags = f"--episodes {result['episodes']} --seed {result['seed']}"
    if "num_envs" in result:
        flags += f" --num-envs {result['num_envs']}"
    flags += f" --checkpoint {result['checkpoint']}"
    flags += " --deterministic" * bool(result["deterministic"])
    used = result.get("map")
    if used and used["from"] == CHOSEN:
        # To be copied into a shell.
        flags += f" --map {shlex.quote(_harmless(used['file']))}"
    return f"""\
## Use it

Download it, with jaxfactory installed:

```
jaxfactory pull {repo} --run {run}{pull_flags}
```

Watch it (a video is written into `{run}`), or play the evaluation above again:

```
jaxfactory evaluate --run {run} --episodes 1 --render-mp4
jaxfactory evaluate --run {run} {flags}
```

Go on training it; `--total-frames` counts the frames that it has already seen:

```
jaxfactory train --run {run} --total-frames {2 * result["frames_trained"]}
```
{own}"""


def _contents(result: dict[str, Any], *, optimizer: bool, video: bool) -> str:
    rows = [
        ("model.safetensors", "parameters, statistics of the normaliser, counters"),
        ("optimizer.safetensors", "the optimizer's state, to go on training exactly"),
        ("checkpoint.json", "names and shapes of the arrays, the last episodes"),
        ("config.json", "every setting of the training"),
        ("evaluation.json", "the evaluation, episode by episode"),
        ("trained_on.json", "the map files that the agent was trained on"),
        ("metrics.jsonl", "the course of the training, a line for each iteration"),
        ("tensorboard/", "the same for TensorBoard"),
        ("replay.mp4", "an episode, at the game's own speed"),
    ]
    missing = {
        "optimizer.safetensors": not optimizer,
        "replay.mp4": not video,
        "trained_on.json": not result.get("trained_on"),
    }
    lines = [f"- `{name}`: {what}" for name, what in rows if not missing.get(name)]
    return "## Files\n\n" + "\n".join(lines) + "\n"
