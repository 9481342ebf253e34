"""First episodes of random length, so that environments are out of phase."""

import numpy as np
import pytest

from jaxfactory._util.errors import UserError
from jaxfactory.config.train import Config, EnvConfig
from jaxfactory.envs.pool import make_pool


ENVS, LIMIT = 8, 120


def ends(stagger: int, steps: int = 60) -> np.ndarray:
    """Play without acting; return the decisions at which each episode is truncated."""
    options = {"num_envs": ENVS, "timeout": LIMIT, "stagger": stagger, "seed": 3}
    with make_pool("basic", **options) as pool:
        pool.reset()
        still = np.zeros((ENVS, 1), np.int32)
        return np.stack([pool.step(still).truncated.copy() for _ in range(steps)])


@pytest.mark.vizdoom
def test_first_episodes_end_at_different_times():
    together, apart = ends(0), ends(LIMIT)
    assert together[LIMIT // 4 - 1].all()
    assert together.sum() == 2 * ENVS
    first = apart.argmax(0)
    assert len(set(first)) > ENVS // 2
    assert (first < LIMIT // 4).all()
    # Later episodes have their full length, so the phases stay apart.
    for env in range(ENVS):
        later = np.diff(np.flatnonzero(apart[:, env]))
        assert set(later.tolist()) <= {LIMIT // 4}
    # The same seed gives the same lengths.
    np.testing.assert_array_equal(apart, ends(LIMIT))


def test_a_mistake_is_a_sentence():
    with pytest.raises(UserError, match="--stagger 5 does nothing in Gymnasium's"):
        Config(env=EnvConfig(scenario="gymnasium:CartPole-v1"), stagger=5)
    with pytest.raises(UserError, match="--stagger -1 must be between 0 and"):
        Config(stagger=-1)
    with pytest.raises(UserError, match="stagger -1 must be 0, or a number of tics"):
        make_pool("basic", num_envs=2, stagger=-1)
