"""Training with a value function that also sees the game variables."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_config

import jaxfactory
from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints.saved_run import load_for_evaluation
from jaxfactory.config.train import EvaluateOptions
from jaxfactory.envs.pool import env_spec, make_pool
from jaxfactory.evaluation import evaluate
from jaxfactory.hub import model_card
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.ppo.learner import init_train_state, make_update
from jaxfactory.rollout.collector import RolloutCollector
from jaxfactory.rollout.policy import make_value
from jaxfactory.rollout.sampler import SyncSampler
from jaxfactory.training import init_from, transfer
from jaxfactory.training.loop import train


pytestmark = pytest.mark.vizdoom

SEES = {"critic_sees": "variables", "measurements_sizes": (8,)}
# Episodes are truncated after 7 steps, one step before the end of a rollout.
CONFIG = tiny_config(
    "health_gathering", updates=2, env={"timeout": 28}, network=SEES, seed=3
)


def test_rollouts_carry_the_variables_and_the_values_they_give():
    with make_pool(CONFIG.env, seed=3, num_steps=8) as pool:
        network = ActorCritic(pool.spec, CONFIG.network)
        state = init_train_state(network, CONFIG.ppo, jax.random.key(0))
        collector = RolloutCollector(pool, network, num_steps=8, seed=3)
        with SyncSampler(collector) as sampler:
            rollouts = []
            for number in range(2):
                rollout = sampler.collect(state._replace(step=state.step + number))
                rollouts.append(jax.tree.map(np.array, rollout))
        update = make_update(  # As `train` makes it: compiled once for both tests.
            network,
            CONFIG.ppo,
            frame_skip=CONFIG.env.frame_skip,
            total_frames=CONFIG.total_frames,
        )
        learned, metrics = update(state, rollouts[0])
        names = pool.variable_names
    assert names == ("HEALTH",)
    # Variables of all observations but the last, over 8 steps and 4 environments.
    stats, seen = learned.normalizer.obs["variables"], rollouts[0].obs["variables"]
    assert stats.count == 1 + 8 * 4
    np.testing.assert_allclose(stats.mean, seen[:-1].sum((0, 1)) / 33, rtol=1e-5)
    assert np.isfinite(metrics["loss"])
    value = make_value(network)
    with make_pool(CONFIG.env, seed=3, num_steps=3) as pool:
        step = pool.reset()
        for rollout in rollouts:
            for t in range(8):
                now = step.info.game_variables.astype(np.float32)
                np.testing.assert_array_equal(rollout.obs["variables"][t], now)
                step = pool.step(rollout.action[t])
                if not step.truncated.any():
                    continue
                # Everywhere at once: the carry after this step, and the final state.
                assert step.truncated.all()
                normal = network.normalize(rollout.obs, state.normalizer.obs)
                part = jax.tree.map(lambda x, t=t: x[: t + 1], normal)
                _, _, after = network.unroll(
                    state.params, part, jnp.asarray(rollout.is_first[: t + 1]),
                    rollout.carry,
                )  # fmt: skip
                last = {
                    **step.info.final_observation,
                    "variables": step.info.game_variables.astype(np.float32),
                }
                expected = value(
                    state.params, state.normalizer, last, after, np.zeros(4, bool)
                )
                np.testing.assert_allclose(rollout.final_value[t], expected, atol=1e-4)
    assert [rollout.truncated.all(1).sum() for rollout in rollouts] == [1, 1]


def test_a_run_is_resumed_evaluated_elsewhere_and_begins_others(tmp_path):
    run = tmp_path / "run"
    train(dataclasses.replace(CONFIG, total_frames=128), run)
    state = train(CONFIG, run)
    assert (int(state.step), state.frames) == (2, 256)
    options = {"run": run, "episodes": 2, "num_envs": 2, "checkpoint": "latest"}
    evaluate.score(EvaluateOptions(**options, scenario="health_gathering_supreme"))
    result = json.loads((run / "evaluation.json").read_text())
    assert result["frames_trained"] == 256
    card = model_card.make_card("a/b", CONFIG, result, optimizer=True, video=False)
    assert "the value function also saw the scenario's game variables" in card
    plain = tiny_config("health_gathering")
    card = model_card.make_card("a/b", plain, result, optimizer=True, video=False)
    assert "game variables" not in card

    agent = jaxfactory.load(run, checkpoint="latest")
    images = np.zeros((2, 72, 128, 3), np.uint8)
    assert agent.act(images)[0].shape == (2, 1)
    with pytest.raises(UserError, match="needs variables=step"):
        agent.values(images)
    one, other = (agent.values(images, variables=np.full((2, 1), x)) for x in (90, 100))
    assert np.abs(one - other).min() > 0

    begun = dataclasses.replace(
        init_from.with_settings_of(str(run), tiny_config("health_gathering")),
        init_from=str(run),
    )
    assert begun.network.critic_sees == "variables"
    network = ActorCritic(env_spec(begun.env), begun.network)
    start = transfer.prepare(begun, tmp_path / "new", network)
    assert "variables encoder, value head, observation stat" in start.report
    assert "normalizer.obs.variables.mean" in start.arrays
    without = dataclasses.replace(
        begun, network=dataclasses.replace(begun.network, critic_sees="none")
    )
    network = ActorCritic(env_spec(without.env), without.network)
    start = transfer.prepare(without, tmp_path / "new", network)
    assert "newly initialized: value head" in start.report
    assert load_for_evaluation(run).config.network.critic_sees == "variables"
