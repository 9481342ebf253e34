"""Population-based training finds settings that a bad start lacks."""

import json

import pytest

from jaxfactory.cli import main
from jaxfactory.config import runs
from jaxfactory.population.history import read


@pytest.mark.slow
@pytest.mark.learning
@pytest.mark.vizdoom
def test_policies_with_too_low_a_learning_rate_are_replaced(tmp_path):
    """Two of four policies begin with 3e-5, with which they learn nothing.

    Without population-based training they have about -160 after 120,000 frames, and
    the other two about 75.
    """
    run = tmp_path / "run"
    code = main.main([
        "train", "--scenario", "basic", "--run", str(run), "--num-policies", "4",
        "--num-envs", "64", "--num-steps", "16", "--num-minibatches", "2",
        "--width", "64", "--height", "36", "--conv-channels", "8", "16", "32",
        "--hidden-size", "64", "--core-size", "64", "--total-frames", "120000",
        "--lr-schedule", "constant", "--policy-values",
        "learning_rate=3e-3,3e-3,3e-5,3e-5", "ent_coef=0.03,0.0003,0.03,0.0003",
        "--pbt", "--pbt-period", "20000", "--pbt-warmup", "40000",
        "--pbt-mutation-probability", "0.6", "--pbt-mutation-range", "1.5", "3",
    ])  # fmt: skip
    assert code == 0
    origin = [0, 1, 2, 3]
    for event in read(run / runs.POPULATION):
        if event.kind == "copy":
            origin[event.policy] = origin[event.parent]
    assert set(origin) <= {0, 1}
    last = json.loads((run / runs.METRICS).read_text().splitlines()[-1])
    assert min(last[f"policy_{i}/raw_return"] for i in range(4)) > 0
