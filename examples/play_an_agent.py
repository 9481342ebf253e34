"""Run a trained agent and print its actions and values.

python examples/train_from_python.py
python examples/play_an_agent.py runs/example
"""

import dataclasses
import sys

import numpy as np

import jaxfactory


def main(run: str) -> None:
    """Run 50 steps in two environments."""
    agent = jaxfactory.load(run, seed=1)
    names = agent.spec.action.names
    # The training environment, with another seed and number of environments.
    env = dataclasses.replace(agent.config.env, num_envs=2)
    with jaxfactory.make_pool(env, seed=1) as pool:
        step = pool.reset()
        # The recurrent state, passed from call to call. It is reset where `is_first` is
        # true.
        carry = agent.initial_carry(pool.num_envs)
        total = np.zeros(pool.num_envs)
        for number in range(50):
            value = agent.values(step.observation, carry, is_first=step.is_first)
            action, carry = agent.act(step.observation, carry, is_first=step.is_first)
            step = pool.step(action)
            total += step.info.raw_reward
            if number % 10 == 0:
                chosen = [names[head][index] for head, index in enumerate(action[0])]
                print(f"step {number:2}: {chosen}, value {value[0]:.2f}")
            for env in np.flatnonzero(step.terminated | step.truncated):
                print(f"environment {env}: episode return {total[env]:.1f}")
                total[env] = 0


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/example")
