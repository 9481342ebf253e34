"""Runs that start from an agent on the Hub."""

import dataclasses
import json
from pathlib import Path

import hub_runs
import numpy as np
import pytest
from hub_runs import CONFIG, EVALUATION, FRAMES, push
from source_runs import begun, config_of, parsed, refused, trained

from jaxfactory._util import jax_setup
from jaxfactory.checkpoints import checkpoint_files
from jaxfactory.checkpoints.saved_run import load_for_evaluation
from jaxfactory.hub.push import _portable
from jaxfactory.training import init_from


pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
# The Hub on loopback.
server = hub_runs.server


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # It sets flags for a JAX that has long been started here.
    monkeypatch.setattr(jax_setup, "configure", lambda: None)
    init_from._pulled.cache_clear()


@pytest.fixture
def pushed(server) -> dict[str, np.ndarray]:
    """An agent on the Hub, ada/doom; returns its leaves."""
    run = Path("mine")
    arrays = trained(run, CONFIG, FRAMES)
    (run / "evaluation.json").write_text(json.dumps(EVALUATION))
    push(run)
    return arrays


def test_an_agent_on_the_hub(pushed, capsys):
    config = parsed("--init-from", "ada/doom")
    assert config.network == CONFIG.network
    assert config.init_from == "ada/doom"
    taken, said = begun("ada/doom", config)
    assert said.startswith(f"copied from ada/doom ({FRAMES:,} frames): encoder, core,")
    saved = load_for_evaluation(init_from.find("ada/doom"))
    assert not saved.path.is_relative_to(Path.cwd())
    pulled = checkpoint_files.read_arrays(saved.path)[1]
    for name in taken:
        np.testing.assert_array_equal(pulled[name], pushed[name])
    # A directory of that name comes first.
    trained(Path("ada/doom"), config_of("basic"))
    assert parsed("--init-from", "ada/doom").env.scenario == "basic"
    words = refused(capsys, "--init-from", "ada/dome")
    assert "ada/dome is not a directory, and pulling it from the Hugging" in words
    assert "there is no repository ada/dome on" in words


@pytest.mark.usefixtures("pushed")
def test_code_of_a_repository_is_not_imported(server, capsys):
    mark = Path("imported")
    Path("evil.py").write_text(f"open({str(mark)!r}, 'w')\nx = 1\n")
    files = server.files("ada/doom")

    def publish(repo: str, **changes) -> None:
        config = json.loads(files["config.json"])
        for key, value in changes.items():
            config[key] = {**config[key], **value}
        text = json.dumps(config).encode()
        server.make(repo, {**files, "config.json": text})

    publish("eve/net", network={"encoder": "evil.py:x"})
    publish("eve/maze", env={"scenario": "evil.py:x"})
    publish("eve/gym", env={"scenario": "gymnasium:evil:x"})
    for name in ("eve/net", "eve/maze", "eve/gym"):
        refused(capsys, "--init-from", name)
    assert not mark.exists()
    # It is the user who names what is run.
    own = ("--init-from", "eve/net", "--network", "conv")
    assert parsed(*own).network.encoder == "conv"
    assert not mark.exists()


def test_a_push_keeps_names_and_drops_directories():
    for origin, kept in (
        ("ada/doom", "ada/doom"),
        ("/home/me/run", None),
        (None, None),
    ):
        config = dataclasses.replace(CONFIG, init_from=origin)
        assert _portable(config, "basic").init_from == kept
