"""Settings that change over a run, and the learning rate that follows the KL."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from updates import NETWORK, PPO, make_rollout, make_state, play

from jaxfactory._util.errors import UserError
from jaxfactory.config.train import PPOConfig
from jaxfactory.ppo import optimizer
from jaxfactory.ppo.learner import make_update


def changed(**changes):
    return dataclasses.replace(PPO, **changes)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        # From 0.1 to 0.02: halfway 0.06.
        ("clip_eps=linear:0.02", {0: 0.1, 0.5: 0.06, 1: 0.02, 1.5: 0.02}),
        # A quarter of the way at 0.6, which is a quarter from 0.5 to 0.9.
        ("clip-eps=linear:0.02:0.5:0.9", {0.5: 0.1, 0.6: 0.08, 0.9: 0.02, 1: 0.02}),
        # (1 - cos(pi / 4)) / 2 = 0.1464 of the way at a quarter.
        ("clip_eps=cosine:0.02", {0: 0.1, 0.25: 0.08828, 0.5: 0.06, 1: 0.02}),
        ("clip_eps=linear:0.3:0.5", {0.5: 0.1, 0.75: 0.2, 1: 0.3}),
        ("clip_eps=constant", {0: 0.1, 1: 0.1}),
    ],
)
def test_values_over_a_run(text, values):
    schedule = PPOConfig(schedule=(text,)).schedules["clip_eps"]
    for progress, value in values.items():
        np.testing.assert_allclose(schedule.at(0.1, float(progress)), value, rtol=1e-4)


def test_frames_count_whatever_the_length_of_the_run():
    config = PPOConfig(balance_coef=0.1, schedule=("balance_coef=linear:0:2000:6000",))
    for frames, value in {0: 0.1, 2000: 0.1, 3000: 0.075, 6000: 0.0, 9000: 0.0}.items():
        scheduled = config.scheduled_at(0.5, frames)
        np.testing.assert_allclose(scheduled["balance_coef"], value, atol=1e-9)
    rate = PPOConfig(learning_rate=1e-3, schedule=("learning_rate=cosine:0:0:4000",))
    # Halfway along a cosine is half.
    np.testing.assert_allclose(optimizer.learning_rate_at(rate, 0.9, 2000), 0.5e-3)


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (("ent_coef",), "must be NAME=SHAPE:FINAL, as in ent_coef=linear:0.0003"),
        (("entcoef=linear:0",), "cannot change 'entcoef'; did you mean 'ent_coef'?"),
        (
            ("frames=linear:0",),
            "cannot change 'frames'; choose learning_rate, ent_coef, balance_coef",
        ),
        (("gamma=liner:0.9",), "no shape 'liner'; did you mean 'linear'?"),
        (("gamma=0.9",), "has no shape '0.9'; choose linear, cosine, constant"),
        (("gamma=linear",), "needs the final value, and takes two shares"),
        (("gamma=linear:1:0:1:2",), "needs the final value, and takes two shares"),
        (("gamma=linear:much",), "must have numbers after linear"),
        (("gamma=linear:",), "must have numbers after linear"),
        (("gamma=constant:0.9",), "takes no numbers; write gamma=constant"),
        (("gamma=linear:0.9:0.5:0.5",), "start and end at shares of the run from 0"),
        (("gamma=linear:0.9:0.5:100",), "or at numbers of frames, the start first"),
        (("gamma=linear:0.9:100:50",), "or at numbers of frames, the start first"),
        (("gamma=linear:0.9:0:inf",), "or at numbers of frames, the start first"),
        # Shares first, which reads as a final value of 0.5 that is reached at 3e-5.
        (("ent_coef=linear:0.5:1:3e-5",), "the start first, as in ent_coef=linear:FIN"),
        (("gamma=linear:0.9:nan",), "start and end at shares of the run from 0"),
        (("gamma=linear:1.1",), "gamma must end between 0 and 1"),
        (("gamma=linear:nan",), "gamma must end between 0 and 1"),
        (("clip_eps=linear:0",), "clip_eps must end between 1e-09 and"),
        (("learning_rate=linear:-1",), "learning_rate must end between 0 and"),
        (("ent_coef=linear:0", "ent-coef=cosine:0"), "changes ent_coef twice"),
    ],
)
def test_nonsense_is_refused(texts, sentence):
    with pytest.raises(UserError) as caught:
        PPOConfig(schedule=texts)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_schedule_of_the_learning_rate_replaces_the_decay():
    config = changed(learning_rate=1e-3, schedule=("learning_rate=cosine:1e-4:0.2",))
    # Halfway from 0.2 to 1: halfway from 1e-3 to 1e-4.
    for progress, rate in ((0.2, 1e-3), (0.6, 0.55e-3), (1.0, 1e-4)):
        np.testing.assert_allclose(optimizer.learning_rate_at(config, progress), rate)
    held = changed(learning_rate=1e-3, schedule=("learning_rate=constant",))
    assert optimizer.learning_rate_at(held, 0.9) == 1e-3


ALL = ("ent_coef=linear:0.5", "clip_eps=linear:0.3", "gamma=linear:0.5")


def updated(config, frames=0, **options):
    """Return the state and the metrics after an update that starts at some frames."""
    state = make_state(config)._replace(frames=frames)
    rollout, _ = play(state, make_rollout())
    return make_update(NETWORK, config, total_frames=1000, **options)(state, rollout)


def test_the_update_uses_and_reports_the_scheduled_values():
    # Halfway: the middle between the initial and the final values.
    config = changed(ent_coef=0.1, clip_eps=0.1, gamma=0.9, schedule=ALL, num_epochs=2)
    state, metrics = updated(config, 500)
    plain = changed(ent_coef=0.3, clip_eps=0.2, gamma=0.7, num_epochs=2)
    expected, others = updated(plain, 500)
    for name, value in (("ent_coef", 0.3), ("clip_eps", 0.2), ("gamma", 0.7)):
        np.testing.assert_allclose(metrics.pop(name), value, rtol=1e-6)
    assert metrics.keys() == others.keys()
    for name, value in others.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, atol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        state.params,
        expected.params,
    )


def test_only_what_changes_is_reported():
    _, metrics = updated(changed(schedule=("gamma=constant", "ent_coef=linear:0")))
    assert "ent_coef" in metrics
    assert not {"gamma", "clip_eps"} & metrics.keys()


def test_new_values_compile_nothing(caplog):
    config = changed(schedule=ALL)
    state = make_state(config)
    update = make_update(NETWORK, config, total_frames=1000)
    with jax.log_compiles():
        state, _ = update(state, make_rollout())
        assert "Compiling" in caplog.text
        caplog.clear()
        seen = set()
        for _ in range(3):
            state, metrics = update(state, make_rollout())
            seen.add(float(metrics["gamma"]))
        assert "Compiling" not in caplog.text
    assert len(seen) == 3


def test_the_warm_up_is_linear_in_the_frames():
    config = changed(learning_rate=1e-3, lr_warmup_frames=1000)
    for frames, rate in ((0, 0.0), (250, 0.25e-3), (1000, 1e-3), (5000, 1e-3)):
        got = optimizer.learning_rate_at(config, 0.0, frames)
        np.testing.assert_allclose(got, rate)
    # It scales what the schedule gives: a tenth at the end of a run.
    late = changed(learning_rate=1e-3, lr_warmup_frames=1000, lr_schedule="decay")
    np.testing.assert_allclose(optimizer.learning_rate_at(late, 1.0, 500), 0.5e-4)


def test_the_first_update_of_a_warm_up_is_not_lost():
    # An update takes 4 steps of 6 environments: 24 frames.
    config = changed(learning_rate=1e-3, lr_schedule="constant", lr_warmup_frames=48)
    state, update = make_state(config), make_update(NETWORK, config)
    rates = []
    for _ in range(3):
        state, metrics = update(state, make_rollout())
        rates.append(metrics["learning_rate"])
    np.testing.assert_allclose(rates, [0.5e-3, 1e-3, 1e-3])


@pytest.mark.parametrize(
    ("kl", "rate"),
    [
        # The target is 0.008: divided above 0.016, multiplied below 0.004.
        (0.017, 2e-4), (0.015, 3e-4), (0.005, 3e-4), (0.003, 4.5e-4),
        (float("nan"), 3e-4),
    ],
)  # fmt: skip
def test_the_rate_follows_the_kl(kl, rate):
    config = changed(kl_target=0.008)
    got = optimizer.adapted(jnp.float32(3e-4), jnp.float32(kl), config)
    np.testing.assert_allclose(got, rate, rtol=1e-6)


def test_the_rate_stays_in_its_range():
    config = changed(kl_target=0.008, kl_lr_range=(1e-4, 2e-4))
    for kl, bound in ((0.0, 2e-4), (1.0, 1e-4)):
        got = optimizer.adapted(jnp.float32(1.4e-4), jnp.float32(kl), config)
        np.testing.assert_allclose(got, bound, rtol=1e-6)


def adaptive(target, **changes):
    # Every update changes the policy by the same rollout.
    return changed(learning_rate=1e-3, kl_target=target, num_epochs=2, **changes)


def rates_of(config, state, updates):
    """Return the state after some updates, and the learning rate of each."""
    update, rates = make_update(NETWORK, config), []
    for _ in range(updates):
        rollout, _ = play(state, make_rollout())
        state, metrics = update(state, rollout)
        rates.append(float(metrics["learning_rate"]))
    return state, rates


def test_updates_adapt_their_rate_and_resume_with_it():
    # No KL divergence reaches half of this target: times 1.5 after each update.
    config = adaptive(100.0)
    state, rates = rates_of(config, make_state(config), 2)
    np.testing.assert_allclose(rates, [1e-3, 1.5e-3], rtol=1e-5)
    # The state alone continues it.
    state, rates = rates_of(config, state, 2)
    np.testing.assert_allclose(rates, [2.25e-3, 3.375e-3], rtol=1e-5)
    # And every one exceeds this: divided by 1.5, from the rate for the next update.
    _, rates = rates_of(adaptive(1e-12), state, 2)
    np.testing.assert_allclose(rates, [5.0625e-3, 3.375e-3], rtol=1e-5)


def test_a_checkpoint_without_a_target_can_get_one_and_lose_it():
    """The state has the same arrays with and without."""
    plain, config = changed(learning_rate=1e-3, lr_schedule="constant"), adaptive(100.0)
    assert jax.tree.structure(make_state(plain)) == jax.tree.structure(
        make_state(config)
    )
    state, _ = rates_of(plain, make_state(plain), 1)
    state, rates = rates_of(config, state, 2)
    np.testing.assert_allclose(rates, [1e-3, 1.5e-3], rtol=1e-5)
    _, rates = rates_of(plain, state, 1)
    np.testing.assert_allclose(rates, [1e-3])


def test_a_warm_up_is_not_adapted():
    config = adaptive(100.0, lr_warmup_frames=72)
    state, rates = rates_of(config, make_state(config), 5)
    expected = [1e-3 / 3, 2e-3 / 3, 1e-3, 1.5e-3, 2.25e-3]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    kept = optax.tree_utils.tree_get(state.opt_state, "learning_rate")
    np.testing.assert_allclose(kept, 3.375e-3, rtol=1e-5)


def test_adapting_fetches_nothing():
    config = adaptive(0.008)
    state, update = make_state(config), make_update(NETWORK, config)
    rollout = jax.device_put(make_rollout())
    state, _ = update(state, rollout)
    with jax.transfer_guard_device_to_host("disallow"):
        state, _ = update(state, rollout)
    assert isinstance(state.opt_state[2].hyperparams["learning_rate"], jax.Array)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kl_target": -1.0}, "--kl-target -1.0 must be between 0 and"),
        ({"kl_lr_range": (1e-2, 1e-6)}, "--kl-lr-range 0.01 1e-06 must be two rates"),
        ({"kl_lr_range": (0.0, 1e-6)}, "--kl-lr-range 0 1e-06 must be two rates"),
        ({"lr_warmup_frames": -1}, "--lr-warmup-frames -1 must be between 0 and"),
        (
            {"kl_target": 0.01, "schedule": ("learning_rate=linear:0",)},
            "--kl-target 0.01 sets the learning rate, which --schedule changes too",
        ),
    ],
)
def test_wrong_rates_are_refused(changes, sentence):
    with pytest.raises(UserError) as caught:
        PPOConfig(**changes)
    assert sentence in str(caught.value)
