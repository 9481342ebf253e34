"""Strided convolution without padding, NHWC."""

from jax import lax
from jaxtyping import Array, Float


def plain_conv2d(
    x: Float[Array, "N H W C"], kernel: Float[Array, "k l C O"], stride: int
) -> Float[Array, "N P Q O"]:
    """Convolve images with a kernel, VALID, with the same stride both ways."""
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


conv2d = plain_conv2d
