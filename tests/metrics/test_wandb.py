"""Weights & Biases, with the real package in offline mode where it is installed."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxfactory._util.errors import UserError
from jaxfactory.cli import main
from jaxfactory.config.train import Config, WatchConfig
from jaxfactory.metrics.wandb_writer import ID, WandbWriter


HERE = importlib.util.find_spec("wandb") is not None

# Its own warnings are not ours to answer for, so it runs in a process of its own.
PROGRAM = """
import sys
from pathlib import Path
from jaxfactory.config.train import Config, WatchConfig
from jaxfactory.metrics.wandb_writer import WandbWriter

run_dir = Path(sys.argv[1])
watch = WatchConfig(wandb=True, wandb_project="doom", wandb_group="both")
writer = WandbWriter(run_dir, Config(seed=7, watch=watch))
writer.begin(0)
writer.write({"losses/entropy": 1.5}, 2_000_000_000)
writer.write({"evaluation/shaped_return": 2.5}, 1000)
mp4 = Path("video.mp4")
mp4.write_bytes(b"some video")
writer.write_video(mp4, mp4, 3000)
writer.close()
writer.close()
"""


@pytest.mark.skipif(not HERE, reason="wandb is not installed")
def test_offline_it_keeps_everything_in_the_run(tmp_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    environment = {
        **os.environ,
        "WANDB_MODE": "offline",
        "WANDB_CONFIG_DIR": str(tmp_path / "settings"),
        "WANDB_CACHE_DIR": str(tmp_path / "cache"),
        "WANDB_DATA_DIR": str(tmp_path / "data"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    for _ in range(2):  # Trained, and resumed.
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(run_dir)],
            env=environment, cwd=tmp_path, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    name = (run_dir / ID).read_text()
    logs = list(run_dir.glob(f"wandb/offline-run-*/run-{name}.wandb"))
    assert len(logs) in (1, 2)  # Two, unless both began in the same second.
    data = b"".join(log.read_bytes() for log in logs)
    for word in (b"losses/entropy", b"2000000000", b"evaluation/shaped_return", b"doom",
                 b"both", b"health_gathering_supreme"):  # fmt: skip
        assert word in data, word
    videos = list(run_dir.glob("wandb/offline-run-*/files/media/videos/*.mp4"))
    assert [video.read_bytes() for video in videos] == [b"some video"] * len(logs)


@pytest.mark.skipif(HERE, reason="wandb is installed")
def test_without_the_package_a_sentence_before_anything_starts(capsys, tmp_path):
    run = tmp_path / "run"
    assert main.main(["train", "--wandb", "--run", str(run)]) == 2
    assert "pip install 'jaxfactory[wandb]'" in capsys.readouterr().err
    assert not run.exists()


def fake(tmp_path: Path, monkeypatch, body: str) -> None:
    """Put a package in wandb's place that records its calls."""
    (tmp_path / "packages" / "wandb").mkdir(parents=True)
    (tmp_path / "packages" / "wandb" / "__init__.py").write_text(body)
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    for name in [name for name in sys.modules if name.split(".")[0] == "wandb"]:
        monkeypatch.delitem(sys.modules, name)


FAKE = """
import json
calls = []
class Error(Exception): pass
class Settings:
    def __init__(self, **settings): calls.append(["settings", settings])
class Run:
    def define_metric(self, *args, **options): calls.append([*args, options])
    def log(self, row): calls.append(row)
    def finish(self): calls.append("finish")
def init(settings, **options):
    calls.append(options)
    return Run()
def Video(path, format): return f"video {path}"
"""


def test_what_it_is_called_with(tmp_path, monkeypatch):
    fake(tmp_path, monkeypatch, FAKE)
    import wandb

    run_dir = tmp_path / "basic" / "run"
    run_dir.mkdir(parents=True)
    watch = WatchConfig(
        wandb=True, wandb_project="p", wandb_entity="e", wandb_group="g"
    )
    config = Config(watch=watch)
    for _ in range(2):
        writer = WandbWriter(run_dir, config)
        writer.begin(5)
        writer.write({"a": 1.0}, 10)
        writer.write_video(Path("x.mp4"), Path("x.gif"), 7)
        writer.close()
    half = len(wandb.calls) // 2
    # A resumed run has the same name there.
    assert wandb.calls[:half] == wandb.calls[half:]
    settings, options, *rest = wandb.calls[:half]
    assert settings == ["settings", {"console": "off"}]
    options.pop("config")
    assert options == {
        "project": "p", "entity": "e", "group": "g", "name": "basic-run",
        "id": (run_dir / ID).read_text(),
        "resume": "allow", "dir": str(run_dir),
    }  # fmt: skip
    assert json.dumps(rest) == json.dumps(
        [
            ["frames", {}],
            ["*", {"step_metric": "frames"}],
            {"a": 1.0, "frames": 10},
            {"video": "video x.mp4", "frames": 7},
            "finish",
        ]
    )


def test_a_login_that_fails_is_a_sentence(tmp_path, monkeypatch):
    broken = FAKE.replace(
        "    calls.append(options)\n", "    raise Error('no key.\\nx')\n"
    )
    fake(tmp_path, monkeypatch, broken)
    writer = WandbWriter(tmp_path, Config(watch=WatchConfig(wandb=True)))
    with pytest.raises(UserError, match=r"\(no key\); run `wandb login`"):
        writer.begin(0)
