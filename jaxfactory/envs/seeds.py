"""The seeds of the environments in a resumed run."""

import numpy as np


def env_seeds(seed: int, num_envs: int, frames: int) -> list[int] | None:
    """Return the environments' seeds for the episodes that begin at ``frames``.

    A run that is resumed must repeat neither its own episodes nor those of a run with
    another seed, so seed and frames are the key of a seed sequence, and not added up.

    Args:
        seed: The run's seed.
        num_envs: Number of environments.
        frames: Frames trained on so far.

    Returns:
        A seed for each environment; None for those of a new run, which the pool derives
        from `seed`.
    """
    if not frames:
        return None
    # Frames may exceed 32 bits, of which a key's words consist.
    key = (frames >> 32, frames & 0xFFFFFFFF)
    sequence = np.random.SeedSequence(seed, spawn_key=key)
    return sequence.generate_state(num_envs).tolist()
