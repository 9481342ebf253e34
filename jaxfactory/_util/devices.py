"""Where JAX computes."""


def computes_in_host_memory() -> bool:
    """Whether programs can read NumPy arrays in place: on the first CPU device."""
    import jax

    if jax.default_backend() != "cpu":
        return False
    chosen = jax.config.jax_default_device
    return chosen is None or chosen == jax.local_devices(backend="cpu")[0]
