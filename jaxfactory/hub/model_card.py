"""Writes the model card (README.md) of an agent on the Hugging Face Hub.

Programs read its YAML header: the Hub's search, and the leaderboard of the Hub's
reinforcement-learning course, which finds agents by tags and dataset and sorts them by
the first metric of the model-index, "mean +/- std".
"""

import re
import shlex
from typing import Any

from jaxfactory.config import families
from jaxfactory.config.train import Config
from jaxfactory.evaluation.evaluation_file import standard_error
from jaxfactory.scenarios.maps.map_file import CHOSEN, LOCAL, MapFile


LIBRARY = "jaxfactory"
ALGORITHM = "PPO"
TASK = "reinforcement-learning"
# Rows of the score table: key in evaluation.json, title.
_ROWS = (
    ("raw_return", "raw return"),
    ("shaped_return", "shaped return"),
    ("length", "length (tics)"),
    # In matches only.
    ("frags", "frags"),
    ("place", "place"),
)


def environment_id(scenario: str) -> str:
    """Return the environment id under which the Hub compares agents.

    Doom scenarios follow the convention of published agents, like
    ``doom_health_gathering_supreme``. Gymnasium environments keep their id.

    Args:
        scenario: A built-in name, the path of a .cfg file, module:NAME,
            file.py:NAME or gymnasium:NAME.
    """
    from jaxfactory.envs import family

    return _harmless(family.of(scenario).agent_id(scenario))


def _harmless(text: str) -> str:
    """Replace the characters that are markup in Markdown, HTML or YAML."""
    return re.sub(r"[^\w./:@+ -]", "_", text)


def score(result: dict[str, Any]) -> str:
    """Return the raw return in the leaderboard's format, like ``"13.10 +/- 5.70"``.

    Args:
        result: The contents of evaluation.json.
    """
    raw = result["raw_return"]
    return f"{raw['mean']:.2f} +/- {raw['std']:.2f}"


def make_card(
    repo: str, config: Config, result: dict[str, Any], *, optimizer: bool, video: bool
) -> str:
    """Return the text of README.md.

    Args:
        repo: The repository, user/repo.
        config: The run's settings.
        result: The contents of evaluation.json.
        optimizer: Whether the repository contains the optimizer state.
        video: Whether it contains replay.mp4.
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
    setup = ""
    if name.startswith("doom_"):
        core = "no recurrent core"
        if network.core != "none":
            core = f"a {network.core.upper()} of {network.core_size} units"
        setup = f"""
Observations are {env.width}x{env.height} pixels, the frame skip is {env.frame_skip},
and the network has {core}."""
        if network.critic_sees == "variables":
            setup += """
In training, the value function also saw the scenario's game variables. The policy never
sees them."""
    shown = " `replay.mp4` shows one episode." if video else ""
    return f"""\
# {ALGORITHM} agent for {name}

Trained with jaxfactory for {result["frames_trained"]:,} frames.{shown}{setup}
All settings are in `config.json`.
"""


def _scores(config: Config, result: dict[str, Any]) -> str:
    how = "the most probable actions" if result["deterministic"] else "sampled actions"
    lines = [
        "| | mean | std error | std | mean - std | min | max |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for key, title in _ROWS:
        if key in ("frags", "place") and key not in result:
            continue
        row = result[key]
        cells = [row[k] for k in ("mean", "std", "mean_minus_std", "min", "max")]
        cells.insert(1, standard_error(result, key))
        lines.append(f"| {title} | " + " | ".join(f"{x:.2f}" for x in cells) + " |")
    table = "\n".join(lines)
    return f"""\
## Score

{table}

- {result["episodes"]} full episodes with {how}, checkpoint `{result["checkpoint"]}`,
  seed {result["seed"]}, {result["date"][:10]}.
- No episode's seed was used in training. Each environment runs a fixed number of
  episodes, so that short episodes are not over-represented. The time limit ended
  {result["truncated"]} of them.
- The raw return is the scenario's own, unshaped reward, and the score in this card's
  header. Training maximized the shaped return. The std is over episodes, the std
  error is that of their mean.
{_map(result)}- `evaluation.json` lists every episode.
"""


def _map(result: dict[str, Any]) -> str:
    """Return the line about the map file; "" for environments without one."""
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
        f"{trained}.\n  Scores on different maps are not comparable.\n"
    )


def _use(repo: str, config: Config, result: dict[str, Any]) -> str:
    custom, pull_flags = "", ""
    for what, place, flag in (
        ("encoder", config.network.encoder, "--network"),
        ("scenario", config.env.scenario, "--scenario"),
    ):
        # Names such as "gymnasium:CartPole-v1" are a library's and not the author's.
        public = what == "scenario" and families.of(place) is not families.FAMILIES[""]
        if ":" in place and not public:
            pull_flags += f" {flag} FILE.py:NAME"
            name = _harmless(place)
            custom += f"""
Its {what} is the author's Python code, `{name}`, which is not in this repository; give
`pull` the path of your copy with `{flag}`.
"""
    if config.env.scenario.startswith("scenario/"):
        pull_flags += " --trust-scenario"
        custom += """
Its scenario, a `.cfg` file and perhaps a map, is in `scenario/`. The engine reads such
files without protection; `--trust-scenario` allows it.
"""
    run = f"runs/{repo.partition('/')[2]}"
    flags = f"--episodes {result['episodes']} --seed {result['seed']}"
    if "num_envs" in result:
        flags += f" --num-envs {result['num_envs']}"
    flags += f" --checkpoint {result['checkpoint']}"
    flags += " --deterministic" * bool(result["deterministic"])
    used = result.get("map")
    if used and used["from"] == CHOSEN:
        # Quoted, because readers paste it into a shell.
        flags += f" --map {shlex.quote(_harmless(used['file']))}"
    return f"""\
## Usage

Download it, with jaxfactory installed:

```
jaxfactory pull {repo} --run {run}{pull_flags}
```

Record a video (written to `{run}`), or repeat the evaluation above:

```
jaxfactory evaluate --run {run} --episodes 1 --render-mp4
jaxfactory evaluate --run {run} {flags}
```

Resume training; `--total-frames` includes the frames of earlier training:

```
jaxfactory train --run {run} --total-frames {2 * result["frames_trained"]}
```
{custom}"""


def _contents(result: dict[str, Any], *, optimizer: bool, video: bool) -> str:
    rows = [
        ("model.safetensors", "parameters, normalization statistics, counters"),
        ("optimizer.safetensors", "optimizer state, to resume training exactly"),
        ("checkpoint.json", "array names and shapes, the last training episodes"),
        ("config.json", "all settings of the training run"),
        ("evaluation.json", "the evaluation, episode by episode"),
        ("trained_on.json", "the map files that the agent was trained on"),
        ("metrics.jsonl", "the training metrics, one line per iteration"),
        ("tensorboard/", "the same metrics for TensorBoard"),
        ("replay.mp4", "an episode in real time"),
    ]
    missing = {
        "optimizer.safetensors": not optimizer,
        "replay.mp4": not video,
        "trained_on.json": not result.get("trained_on"),
    }
    lines = [f"- `{name}`: {what}" for name, what in rows if not missing.get(name)]
    return "## Files\n\n" + "\n".join(lines) + "\n"
