"""The pool inside compiled programs plays what it plays outside of them."""

import gc
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfactory.envs.pool import make_pool


pytestmark = pytest.mark.vizdoom

OPTIONS = {"num_envs": 4, "seed": 11, "timeout": 60, "num_steps": 8}
STEPS = 40


def chosen(heads):
    rng = np.random.default_rng(0)
    return rng.integers(0, heads, (STEPS, 4, len(heads))).astype(np.int32)


# The second has measurements too.
@pytest.mark.parametrize("scenario", ["basic", "deathmatch"])
def test_a_scan_plays_what_the_python_path_plays(scenario):
    with make_pool(scenario, **OPTIONS) as pool:
        actions = chosen(pool.spec.action.heads)
        expected = [jax.tree.map(np.array, pool.reset())]
        expected += [jax.tree.map(np.array, pool.step(action)) for action in actions]
    with make_pool(scenario, **OPTIONS) as pool:
        token, reset, step = pool.xla()

        @jax.jit
        def play(token, actions):
            token, first = reset(token)
            token, rest = jax.lax.scan(step, token, actions)
            return token, first, rest

        token, first, rest = play(token, actions)
    assert token == STEPS + 1  # every call took the token of the one before
    assert sum(step.truncated.sum() for step in expected) >= 4
    for t, wanted in enumerate(expected):
        found = first if t == 0 else jax.tree.map(lambda leaf, i=t: leaf[i - 1], rest)
        ended = wanted.terminated | wanted.truncated
        np.testing.assert_array_equal(
            found.info.final_obs[ended], wanted.info.final_obs[ended]
        )
        np.testing.assert_array_equal(
            found.info.final_measurements[ended], wanted.info.final_measurements[ended]
        )
        blank = {"final_obs": 0, "final_measurements": 0}
        pairs = zip(
            jax.tree.leaves(found._replace(info=found.info._replace(**blank))),
            jax.tree.leaves(wanted._replace(info=wanted.info._replace(**blank))),
            strict=True,
        )
        for mine, theirs in pairs:
            np.testing.assert_array_equal(
                mine, np.asarray(theirs, np.asarray(mine).dtype)
            )


def test_both_paths_take_turns():
    with make_pool("basic", **OPTIONS) as pool:
        token, reset, step = pool.xla()
        action = jnp.zeros((4, 1), jnp.int32)
        token, _ = reset(token)
        lengths = []
        for _ in range(3):
            token, played = jax.jit(step)(token, action)
            lengths.append(int(played.info.episode_length[0]))
            lengths.append(int(pool.step(np.asarray(action)).info.episode_length[0]))
    assert lengths == [4, 8, 12, 16, 20, 24]


def test_mistakes_are_errors():
    with make_pool("basic", **OPTIONS) as pool:
        token, reset, step = pool.xla()
        token, _ = reset(token)
        with pytest.raises(ValueError, match=r"int32\[4, 1\]"):
            step(token, jnp.zeros((3, 1), jnp.int32))
        with pytest.raises(Exception, match="index 9 of environment 0"):
            jax.block_until_ready(step(token, jnp.full((4, 1), 9, jnp.int32)))
        # Nothing was sent by it.
        jax.block_until_ready(step(token, jnp.zeros((4, 1), jnp.int32)))


def test_a_token_is_good_for_one_call():
    """Two programs that step the pool in no certain order would mix their results."""
    with make_pool("basic", **OPTIONS) as pool:
        token, reset, step = pool.xla()
        begun, _ = reset(token)
        action = jnp.zeros((4, 1), jnp.int32)
        act = jax.jit(step)
        stepped, _ = jax.block_until_ready(act(begun, action))
        for old in (token, begun):
            with pytest.raises(Exception, match="but the newest is 2; pass each call"):
                jax.block_until_ready(act(old, action))
        with pytest.raises(Exception, match="newest is 2"):
            jax.block_until_ready(reset(begun))
        newest, _, again = pool.xla()
        assert newest == stepped
        jax.block_until_ready(again(newest, action))


def test_two_programs_at_once():
    """With one token, one of them steps the pool, and the other is an error."""
    with make_pool("basic", **OPTIONS) as pool:
        token, reset, step = pool.xla()
        token, _ = jax.block_until_ready(reset(token))
        act = jax.jit(step)
        action = jnp.zeros((4, 1), jnp.int32)
        token, _ = jax.block_until_ready(act(token, action))
        for _ in range(20):
            done = []

            def play(token=token, done=done):
                try:
                    done.append(jax.block_until_ready(act(token, action))[0])
                except Exception as error:
                    done.append(str(error))

            threads = [threading.Thread(target=play) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            errors = [one for one in done if isinstance(one, str)]
            assert len(errors) == 1
            assert "pass each call" in errors[0]
            (token,) = (one for one in done if not isinstance(one, str))


def test_a_program_that_outlives_its_pool():
    with make_pool("basic", **OPTIONS) as pool:
        token, reset, step = pool.xla()
        action = jnp.zeros((4, 1), jnp.int32)
        token, _ = reset(token)
        program = jax.jit(step).lower(token, action).compile()
        token, _ = jax.block_until_ready(program(token, action))
    with pytest.raises(Exception, match="The pool is closed"):
        jax.block_until_ready(program(token, action))
    del pool, reset, step
    gc.collect()
    # Others may be where it was.
    with (
        make_pool("basic", **OPTIONS),
        make_pool("basic", **OPTIONS),
        pytest.raises(Exception, match="was compiled for is gone"),
    ):
        jax.block_until_ready(program(token, action))
