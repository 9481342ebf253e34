"""Checkpoints: what is saved, kept and restored, and what a kill leaves behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from orbax.checkpoint import v1 as orbax
from places import ROOT, TESTS
from saved_states import make_progress, make_state

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints import orbax as orbax_files
from jaxfactory.checkpoints.checkpoint_files import read_arrays
from jaxfactory.checkpoints.manager import Checkpointer
from jaxfactory.checkpoints.saved_run import load_for_evaluation
from jaxfactory.config import runs
from jaxfactory.config.train import Config, EnvConfig, NetworkConfig, PPOConfig


def save(run_dir, state, progress=None, config=None):
    with Checkpointer(run_dir, config or Config()) as checkpointer:
        checkpointer.restore_or(make_state())
        checkpointer.save(state, progress or make_progress())


def restore(run_dir, config=None, target=None, progress=None):
    with Checkpointer(run_dir, config or Config()) as checkpointer:
        return checkpointer.restore_or(target or make_state(), progress)


def names(run_dir, kind):
    return [int(path.name) for path in runs.checkpoint_dirs(run_dir, kind)]


def test_everything_comes_back_exactly(tmp_path):
    run_dir = tmp_path / "run"
    frames = 2**31 + 12
    state = make_state(frames=frames, fill=0.1)
    # A step of Adam, so that its moments are not zero.
    grads = jax.tree.map(lambda x: x + 0.3, state.params)
    opt_state = optax.tree_utils.tree_add_scale(state.opt_state, 1, state.opt_state)
    state = state._replace(params=grads, opt_state=opt_state)
    save(run_dir, state, make_progress(3.5, seconds=12.5))
    progress = make_progress()
    restored = restore(run_dir, progress=progress)

    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert type(restored.frames) is int
    assert restored.frames == frames
    assert progress.frames == frames
    assert progress.seconds == 12.5
    assert progress.episodes.summary("shaped_return").mean == 3.5
    for new, old in zip(jax.tree.leaves(restored[:3]), jax.tree.leaves(state[:3])):
        assert new.dtype == old.dtype
        np.testing.assert_array_equal(new, old)
    # The key is a typed key again, and draws the same numbers.
    np.testing.assert_array_equal(
        jax.random.normal(restored.key, (4,)), jax.random.normal(state.key, (4,))
    )


def test_keys_of_another_implementation_and_empty_arrays(tmp_path):
    class Odd(NamedTuple):
        frames: int
        key: Any
        empty: Any
        host: Any
        flag: bool

    def make(frames, seed):
        key = jax.random.split(jax.random.key(seed, impl="rbg"), 2)
        host = np.full(2, 2**40 + seed)
        return Odd(frames, key, jnp.zeros((0, 3)), host, seed == 1)

    save(tmp_path / "run", make(5, 1))
    restored = restore(tmp_path / "run", target=make(0, 2))
    np.testing.assert_array_equal(
        jax.random.key_data(restored.key), jax.random.key_data(make(5, 1).key)
    )
    assert restored.empty.shape == (0, 3)
    assert restored.host.tolist() == [2**40 + 1] * 2
    assert restored.flag is True


def test_two_are_kept(tmp_path):
    with Checkpointer(tmp_path / "run", Config()) as checkpointer:
        for frames in (10, 20, 30, 2**31, 2**31):
            checkpointer.save(make_state(frames), make_progress())
    assert names(tmp_path / "run", "latest") == [30, 2**31]
    assert names(tmp_path / "run", "best") == []


def test_the_best_needs_a_full_window_and_a_better_mean(tmp_path):
    run_dir = tmp_path / "run"
    with Checkpointer(run_dir, Config()) as checkpointer:
        checkpointer.save(make_state(10), make_progress(9.0, number=99))
        assert names(run_dir, "best") == []
        checkpointer.save(make_state(20), make_progress(-2.0))
        assert names(run_dir, "best") == [20]
        checkpointer.save(make_state(30), make_progress(-3.0))
        assert names(run_dir, "best") == [20]
    # The record outlives a restart.
    with Checkpointer(run_dir, Config()) as checkpointer:
        checkpointer.restore_or(make_state())
        checkpointer.save(make_state(40), make_progress(-2.5))
        assert names(run_dir, "best") == [20]
        checkpointer.save(make_state(50), make_progress(-1.0))
        assert names(run_dir, "best") == [50]


def test_maybe_save_waits_for_the_minutes(tmp_path):
    now = [0.0]
    config = Config(checkpoint_minutes=2.0)
    with Checkpointer(tmp_path / "run", config, clock=lambda: now[0]) as checkpointer:
        now[0] = 119.0
        assert not checkpointer.maybe_save(make_state(10), make_progress())
        now[0] = 120.0
        assert checkpointer.maybe_save(make_state(20), make_progress())
        now[0] = 239.0
        assert not checkpointer.maybe_save(make_state(30), make_progress())


def test_a_removal_cut_short_leaves_no_part_of_a_checkpoint(tmp_path, monkeypatch):
    run_dir = tmp_path / "run"
    save(run_dir, make_state(10, fill=1.0))
    save(run_dir, make_state(20, fill=2.0))
    remove = shutil.rmtree

    def die(path, ignore_errors=False):
        if Path(path).exists() and not ignore_errors:
            next(Path(path).glob("host.json")).unlink()
            raise KeyboardInterrupt
        remove(path, ignore_errors=ignore_errors)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", die)
        with pytest.raises(KeyboardInterrupt):
            save(run_dir, make_state(30, fill=3.0))
    saved = runs.checkpoint_dirs(run_dir, "latest")
    assert [read_arrays(path)[0]["frames"] for path in saved] == [20, 30]
    assert restore(run_dir).frames == 30
    assert not (run_dir / "checkpoints" / ".discarded").exists()


@pytest.mark.parametrize("victim", ["save", "rename"])
def test_a_save_cut_short_leaves_the_one_before(tmp_path, monkeypatch, victim):
    run_dir = tmp_path / "run"
    save(run_dir, make_state(10, fill=1.0))

    def die(*args, **kwargs):
        raise KeyboardInterrupt

    owner = orbax if victim == "save" else Path
    with monkeypatch.context() as patch:
        patch.setattr(owner, victim, die)
        with pytest.raises(KeyboardInterrupt):
            save(run_dir, make_state(20, fill=2.0))
    assert (run_dir / "checkpoints" / ".unfinished").exists()
    restored = restore(run_dir)
    assert restored.frames == 10
    assert not (run_dir / "checkpoints" / ".unfinished").exists()


@pytest.mark.slow
def test_kill_in_the_middle_of_saving(tmp_path):
    run_dir = tmp_path / "run"
    folders = [str(ROOT), str(TESTS / "helpers")]
    program = textwrap.dedent(f"""
        import sys
        sys.path[:0] = {folders}
        from pathlib import Path
        from saved_states import make_progress, make_state
        from jaxfactory.checkpoints.manager import Checkpointer
        from jaxfactory.config.train import Config
        with Checkpointer(Path({str(run_dir)!r}), Config()) as checkpointer:
            state = checkpointer.restore_or(make_state(width=500_000))
            frames = state.frames
            while True:
                frames += 1
                state = make_state(frames, fill=float(frames), width=500_000)
                checkpointer.save(state, make_progress())
                print("saved", flush=True)
    """)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    previous = 0
    for delay in (0.15, 0.21, 0.27):
        with subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment
        ) as process:
            process.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(delay + 0.2)
            process.send_signal(signal.SIGKILL)
        restored = restore(run_dir, target=make_state(width=500_000))
        assert restored.frames > previous
        kernel = np.asarray(restored.params["dense"]["kernel"])
        assert (kernel == restored.frames).all()
        previous = restored.frames


def cut_in_half(path):
    for file in path.rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def change_a_number(path):
    """Change a parameter a little; every file is as whole as before."""
    _, arrays = read_arrays(path)
    name = next(name for name in arrays if name.startswith("params."))
    arrays[name] = np.nextafter(arrays[name], np.float32(9))
    shutil.rmtree(path / "state")
    full = {name: array for name, array in arrays.items() if array.size}
    orbax_files.save(path / "state", full)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "host.json").unlink(),
        lambda path: (path / "host.json").write_text("[]"),
        lambda path: shutil.rmtree(path / "state"),
        lambda path: cut_in_half(path / "state"),
        lambda path: change_a_number(path),
    ],
)
def test_a_damaged_checkpoint_is_a_sentence_for_who_plays_it(tmp_path, damage):
    save(tmp_path, make_state(frames=10))
    (path,) = runs.checkpoint_dirs(tmp_path, "latest")
    damage(path)
    with pytest.raises(UserError) as caught:
        load_for_evaluation(tmp_path).restore(make_state())
    assert str(caught.value).startswith(f"the checkpoint {path} is damaged (")
    assert "\n" not in str(caught.value)


def test_checkpoints_of_earlier_versions_have_no_checksum(tmp_path):
    save(tmp_path, make_state(frames=10))
    (path,) = runs.checkpoint_dirs(tmp_path, "latest")
    host = json.loads((path / "host.json").read_text())
    assert host.pop("checksum") > 0
    (path / "host.json").write_text(json.dumps(host))
    assert restore(tmp_path).frames == 10


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path):
    run_dir = tmp_path / "run"
    with Checkpointer(run_dir, Config()) as checkpointer:
        for frames in (10, 20):
            checkpointer.save(make_state(frames), make_progress())
    newest = runs.checkpoint_dirs(run_dir, "latest")[-1]
    (newest / "host.json").write_text("{")
    with pytest.warns(UserWarning, match="cannot be read"):
        restored = restore(run_dir)
    assert restored.frames == 10
    # Going on from there, the damaged one gives way and 10 is not thrown away.
    with Checkpointer(run_dir, Config()) as checkpointer:
        with pytest.warns(UserWarning, match="cannot be read"):
            checkpointer.restore_or(make_state())
        checkpointer.save(make_state(20, fill=7.0), make_progress())
    restored = restore(run_dir)
    assert restored.params["dense"]["kernel"][0, 0] == 7.0


def test_no_readable_checkpoint_is_a_sentence(tmp_path):
    save(tmp_path, make_state(10))
    (runs.checkpoint_dirs(tmp_path, "latest")[-1] / "host.json").write_text("{")
    with (
        pytest.warns(UserWarning, match="cannot be read"),
        pytest.raises(UserError, match="no checkpoint of the run"),
    ):
        restore(tmp_path)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (Config(env=EnvConfig(scenario="basic")), "--scenario basic"),
        (Config(env=EnvConfig(width=64)), "--width 128 and cannot resume with"),
        (Config(env=EnvConfig(grayscale=True)), "--no-grayscale"),
        (Config(network=NetworkConfig(core="lstm")), "--core gru"),
        (
            Config(network=NetworkConfig(conv_channels=(1, 2, 3))),
            "--conv-channels 1 2 3",
        ),
        (Config(seed=5), "--seed 5"),
    ],
)
def test_another_run_is_refused_by_name(tmp_path, config, words):
    save(tmp_path / "run", make_state(10))
    with pytest.raises(UserError) as error:
        restore(tmp_path / "run", config)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_what_may_change_changes(tmp_path):
    save(tmp_path / "run", make_state(10))
    config = Config(
        total_frames=7,
        ppo=PPOConfig(learning_rate=0.5),
        network=NetworkConfig(precision="float32"),
    )
    restored = restore(tmp_path / "run", config)
    assert restored.frames == 10
    assert runs.load_config(tmp_path / "run") == config


def test_a_state_of_another_shape_is_refused_by_name(tmp_path):
    save(tmp_path / "run", make_state(10))
    with pytest.raises(UserError, match=r"bias is float32\[3\] in the check"):
        restore(tmp_path / "run", target=make_state(width=4))


def test_foreign_directories_are_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="is not empty and is not a run"):
        restore(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UserError, match="cannot be written"):
        restore(tmp_path / "thesis.tex")


def test_a_corrupt_config_is_a_sentence(tmp_path):
    for text in ("{", "[]", '{"env": 3}', '{"warp": 3}', '{"total_frames": 0}'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match=r"config.json cannot be read"):
            restore(tmp_path)


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path):
    with (
        Checkpointer(tmp_path, Config()),
        pytest.raises(UserError, match="another process"),
    ):
        restore(tmp_path)
    restore(tmp_path)


def test_load_for_evaluation(tmp_path):
    config = Config(ppo=PPOConfig(learning_rate=0.5))
    with Checkpointer(tmp_path, config) as checkpointer:
        checkpointer.save(make_state(10, fill=1.0), make_progress(5.0))
        checkpointer.save(make_state(20, fill=2.0), make_progress(4.0))
    for kind, fill in (("latest", 2.0), ("best", 1.0)):
        saved = load_for_evaluation(tmp_path, kind)
        assert saved.config == config
        assert saved.frames == 10 * fill
        state = saved.restore(make_state())
        assert (np.asarray(state.params["dense"]["kernel"]) == fill).all()


def test_load_for_evaluation_says_what_is_missing(tmp_path):
    with pytest.raises(UserError, match="it has no config"):
        load_for_evaluation(tmp_path)
    with pytest.raises(UserError, match="not a directory"):
        load_for_evaluation(tmp_path / "nowhere")
    save(tmp_path / "run", make_state(10))
    # No best one is kept before 100 episodes have ended: the latest stands in.
    assert load_for_evaluation(tmp_path / "run", "best").frames == 10
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "latest")
    with pytest.raises(UserError, match="has no best checkpoint: train it first"):
        load_for_evaluation(tmp_path / "run", "best")


def test_the_newest_run_is_the_one_saved_last(tmp_path):
    with pytest.raises(UserError, match="no run with a checkpoint"):
        runs.find_newest_run(tmp_path)
    for number, name in enumerate(("b", "a", "c")):
        save(tmp_path / "basic" / name, make_state(10))
        folder = runs.checkpoint_dirs(tmp_path / "basic" / name, "latest")[-1]
        os.utime(folder, (1000 + number % 2, 1000 + number % 2))
    assert runs.find_newest_run(tmp_path) == tmp_path / "basic" / "a"


def test_new_run_directories_do_not_collide(tmp_path):
    # Each exists at once: another process could take the same name.
    made = [runs.new_run_dir("maps/my.cfg", tmp_path) for _ in range(3)]
    assert len(set(made)) == 3
    assert all(path.parent == tmp_path / "my" and path.is_dir() for path in made)
    runs.remove_empty(made[0], tmp_path)
    assert not made[0].exists()
    assert made[1].exists()


def test_config_json_is_plain(tmp_path):
    save(tmp_path, make_state(10))
    data = json.loads((tmp_path / "config.json").read_text())
    assert data["env"]["scenario"] == "health_gathering_supreme"
