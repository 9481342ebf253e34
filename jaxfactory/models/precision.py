"""The type of the factors of a network's products: float32 or bfloat16."""

import os
from typing import Any

import jax

from jaxfactory._util.errors import UserError
from jaxfactory.config.network import NetworkConfig
from jaxfactory.models import convolution
from jaxfactory.models.bfloat16 import image_encoder, kernels
from jaxfactory.models.encoders import Encoder
from jaxfactory.types import ObservationSpec


def resolve(spec: ObservationSpec, config: NetworkConfig, encoder: Any) -> str:
    """Return "float32" or "bfloat16".

    auto is bfloat16 where the kernels for it serve all of the network: it takes half
    the time there, and scores as well (benchmarks/results/plateau_precision.json).

    Raises:
        UserError: If bfloat16 is requested for a network that has none.
    """
    if config.precision == "float32":
        return "float32"
    reason = _without(spec, config, encoder)
    if config.precision == "auto":
        return "float32" if reason or not _served(spec, config) else "bfloat16"
    if reason:
        raise UserError(
            f"--precision bfloat16 is for networks that begin with convolutions, but "
            f"{reason}; leave it out"
        )
    return "bfloat16"


def describe(precision: str) -> str:
    """Return the precision as a note for a training run's output."""
    if precision == "float32":
        return "precision: float32"
    how = f"{kernels.instructions()} kernels" if kernels.used() else "XLA"
    return f"precision: bfloat16 products with float32 sums ({how})"


def kernels_here() -> str:
    """Return what the layers use on this machine, as in "cpu: C++, AVX-512-BF16"."""
    parts = [convolution.lowering(), kernels.instructions()]
    if limit := os.environ.get("JAXFACTORY_MAX_ISA"):
        parts.append(f"at most {limit}")
    return f"{jax.default_backend()}: {', '.join(filter(None, parts))}"


def _served(spec: ObservationSpec, config: NetworkConfig) -> bool:
    """Whether the C++ kernels compute each layer, so that none is left to XLA."""
    channels = (spec.image[-1], *config.conv_channels)
    units = (config.hidden_size, *config.dense_sizes)
    units += () if config.core == "none" else (config.core_size,)
    return (
        kernels.used()
        and image_encoder.fits(channels, config.conv_kernels)
        and config.core in ("gru", "mingru", "none")
        and not any(size % 16 for size in units)
    )


def _without(spec: ObservationSpec, config: NetworkConfig, encoder: Any) -> str:
    """Return why there is no bfloat16 form of a network, "" if there is one."""
    if spec.image is None:
        return "the observation has no image"
    if encoder is not Encoder:
        return f"the encoder is {config.encoder}"
    return "" if config.conv_channels else "there is none"
