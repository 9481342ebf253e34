"""Repositories like those of the course's agents: pulled, watched, trained further.

They are made by scripts/make_sample_factory_checkpoint.py in the layouts of
doom_health_gathering_supreme_2222 and doom_deathmatch_bots_2222, with small networks:
cfg.json, LSTM, a best checkpoint besides the last ones, and no layers for measurements
in that of the match.
"""

import json
from pathlib import Path

import av
import gymnasium
import hub_runs
import numpy as np
import pytest
from places import EXPERIMENTS

import jaxfactory
from jaxfactory._util.errors import UserError
from jaxfactory.cli import main
from jaxfactory.config import runs
from jaxfactory.envs import pool


FRAMES = 123_456

# The client's own; users do not see it.
pytestmark = [
    pytest.mark.vizdoom,
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]
hub = hub_runs.server


def make_repository(hub, name):
    folder = EXPERIMENTS / name
    names = hub_runs.files_under(folder) - {"answers.npz"}
    files = {file: (folder / file).read_bytes() for file in names}
    hub.make(f"ada/{name}", {**files, "README.md": b"theirs", "replay.mp4": b"film"})


def command(*args):
    assert main.main([str(arg) for arg in args]) == 0


def change_env(run, **changes):
    """Change settings of a run's environments, as an editor would."""
    settings = json.loads((run / runs.CONFIG).read_text())
    settings["env"].update(changes)
    (run / runs.CONFIG).write_text(json.dumps(settings))


def rows(run):
    lines = (run / runs.METRICS).read_text().splitlines()
    return [json.loads(line) for line in lines]


def pulled(hub, name, capsys):
    """Make a repository of an experiment and a run of that; return the run."""
    make_repository(hub, name)
    run = Path("runs/theirs")
    command("pull", f"ada/{name}", "--run", run)
    out = capsys.readouterr().out
    assert f"trained for {FRAMES:,} frames" in out
    sees_all = name != "deathmatch"
    assert ("reads the image only" in out) == (not sees_all)
    assert runs.load_config(run).env.measurements == sees_all
    return run


# A whole match, and its engines once more for the video, on a machine that is busy.
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["health", "deathmatch"])
def test_pull_watch_push_and_go_on_training(hub, capsys, name):
    run = pulled(hub, name, capsys)
    if name == "health":
        change_env(run, timeout=160)
    command("evaluate", "--run", run, "--episodes", 1, "--render-mp4")
    result = json.loads((run / "evaluation.json").read_text())
    assert (result["episodes"], result["frames_trained"]) == (1, FRAMES)
    length = int(result["length"]["mean"])
    # A whole match takes four minutes, but for the tic in which it begins.
    assert length == (160 if name == "health" else 4 * 60 * 35 - 1)
    with av.open(str(run / "evaluation.mp4")) as video:
        # Every tic, and the image before the first.
        assert sum(1 for _ in video.decode(video=0)) == length + 1
    # As one's own.
    command("push", run, "ada/mine")
    mine = Path("runs/mine")
    command("pull", "ada/mine", "--run", mine)
    assert runs.load_config(mine) == runs.load_config(run)
    # Two iterations, with evaluations and a video between them.
    change_env(mine, timeout=160)
    frames = runs.load_config(mine).frames_per_iteration
    command(
        "train", "--run", mine, "--total-frames", FRAMES + 2 * frames,
        "--evaluate-every", frames, "--evaluate-episodes", 1,
        "--video-every", frames,
    )  # fmt: skip
    trained = rows(mine)
    assert trained[-1]["frames"] == FRAMES + 2 * frames
    losses = [
        value
        for row in trained
        for key, value in row.items()
        if key.startswith("losses/")
    ]
    assert losses
    assert np.isfinite(losses).all()
    assert any("evaluation/shaped_return" in row for row in trained)
    assert list((mine / runs.VIDEOS).glob("*.mp4"))


def test_an_agent_that_sees_the_image_alone(hub, capsys):
    run = pulled(hub, "deathmatch", capsys)
    change_env(run, timeout=40)
    command("evaluate", "--run", run, "--episodes", 1)
    assert json.loads((run / "evaluation.json").read_text())["length"]["mean"] == 40
    # From Python, and by Gymnasium's face.
    agent = jaxfactory.load(run)
    assert agent.spec.observation.measurements == 0
    height, width = agent.config.env.height, agent.config.env.width
    options = {"height": height, "width": width, "frame_skip": 2}
    name = "jaxfactory/DeathmatchBots-v0"
    with pytest.raises(
        UserError, match=r"and 23 numbers as observation.*measurements=False"
    ):
        agent.for_env(FakeEnv(name, **options))
    env = gymnasium.make(name, measurements=False, **options)
    policy = agent.for_env(env)
    obs, _ = env.reset(seed=1)
    assert obs.shape == (height, width, 3)
    for _ in range(3):
        obs, _, _, _, _ = env.step(policy(obs))
    env.close()
    # A run keeps to what its agent sees.
    capsys.readouterr()
    more = ("--run", run, "--measurements", "--total-frames", 2 * FRAMES)
    assert main.main(["train", *map(str, more)]) == 2
    words = capsys.readouterr().err
    assert "was trained with --no-measurements and cannot resume with" in words


class FakeEnv:
    """The spaces of a scenario, without its engine."""

    def __init__(self, name, **options):
        made = gymnasium.make(name, **options)
        self.observation_space = made.observation_space
        self.action_space = made.action_space
        made.close()


@pytest.mark.slow
def test_train_without_measurements(tmp_path):
    run = tmp_path / "run"
    sizes = ("--conv-channels", 4, 4, 4, "--hidden-size", 8, "--core-size", 8)
    frames = 4 * 4 * 4
    command(
        "train", "--scenario", "battle", "--no-measurements", "--run", run, *sizes,
        "--num-envs", 4, "--num-steps", 4, "--num-minibatches", 2,
        "--total-frames", 2 * frames,
    )  # fmt: skip
    config = runs.load_config(run)
    assert not config.env.measurements
    assert pool.env_spec(config.env).observation.measurements == 0
    assert rows(run)[-1]["frames"] == 2 * frames
    assert jaxfactory.load(run).spec.observation.shapes.keys() == {"image"}
