"""The type of the factors of a network's products: float32 or bfloat16."""

import os
from typing import Any

import jax

from jaxfactory._util.errors import UserError
from jaxfactory.config.network import NetworkConfig
from jaxfactory.models import convolution
from jaxfactory.models.bfloat16 import kernels
from jaxfactory.models.encoders import Encoder
from jaxfactory.types import ObservationSpec


def resolve(spec: ObservationSpec, config: NetworkConfig, encoder: Any) -> str:
    """Return "float32" or "bfloat16".

    auto is float32: over ten seeds, scores with bfloat16 were not shown to be as good
    (benchmarks/results/precision.json).

    Raises:
        UserError: If bfloat16 is requested for a network that has none.
    """
    if config.precision != "bfloat16":
        return "float32"
    if reason := _without(spec, config, encoder):
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


def _without(spec: ObservationSpec, config: NetworkConfig, encoder: Any) -> str:
    """Return why there is no bfloat16 form of a network, "" if there is one."""
    if spec.image is None:
        return "the observation has no image"
    if encoder is not Encoder:
        return f"the encoder is {config.encoder}"
    return "" if config.conv_channels else "there is none"
