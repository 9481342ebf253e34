"""The type of the factors of a network's products: float32 or bfloat16."""

from typing import Any

from jaxfactory._util.errors import UserError
from jaxfactory.config.network import NetworkConfig
from jaxfactory.models.bfloat16 import dense, gru, image_encoder, kernels
from jaxfactory.models.encoders import Encoder
from jaxfactory.types import ObservationSpec


def resolve(spec: ObservationSpec, config: NetworkConfig, encoder: Any) -> str:
    """Return "float32" or "bfloat16".

    auto is bfloat16 where the C++ kernels support the network, because it is faster.

    Raises:
        UserError: If bfloat16 is requested for a network that has none.
    """
    if config.precision == "float32":
        return "float32"
    reason = _without(spec, config, encoder)
    if config.precision == "auto":
        return "bfloat16" if not reason and _fast(spec, config) else "float32"
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
    how = "AVX-512-BF16 kernels" if kernels.used() else "XLA"
    return f"precision: bfloat16 products with float32 sums ({how})"


def _without(spec: ObservationSpec, config: NetworkConfig, encoder: Any) -> str:
    """Return why there is no bfloat16 form of a network, "" if there is one."""
    if spec.image is None:
        return "the observation has no image"
    if encoder is not Encoder:
        return f"the encoder is {config.encoder}"
    return "" if config.conv_channels else "there is none"


def _fast(spec: ObservationSpec, config: NetworkConfig) -> bool:
    channels = (spec.image[2], *config.conv_channels)
    core = config.core != "gru" or gru.usable(config.core_size)
    return (
        kernels.used()
        and image_encoder.fits(channels, config.conv_kernels)
        and dense.fits(config.conv_channels[-1], config.hidden_size)
        and core
    )
