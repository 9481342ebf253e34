"""Residual convolutions of the encoder `resnet_impala`.

As in IMPALA (Espeholt et al., arXiv:1802.01561): each stage is a 3x3 convolution, a
3x3 max-pooling of stride 2 and two residual blocks, each an activation and a 3x3
convolution, twice. All convolutions are padded: only pooling makes images smaller.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from jaxfactory.models.activations import ACTIVATIONS
from jaxfactory.models.convolution import conv2d
from jaxfactory.models.layers import Conv


_SIZE = 3
_BLOCKS = 2
# Our convolution kernels need a multiple of this many channels; see convolution.py.
_CHANNELS = 8


class PaddedConv(Conv):
    """3x3 convolution that keeps the image's size, ``[N, H, W, C] -> [N, H, W, O]``."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs):
        super().__init__(inputs, outputs, _SIZE, 1, rngs)

    def __call__(self, x: Array) -> Array:
        """Return the layer's output."""
        # Padding with zero channels makes the first layer twice as fast on the CPU.
        missing = -x.shape[-1] % _CHANNELS
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, missing)))
        kernel = jnp.pad(self.kernel[...], ((0, 0), (0, 0), (0, missing), (0, 0)))
        y = conv2d(x, kernel, 1)
        return y + jnp.broadcast_to(self.bias[...], y.shape)


class ResidualBlock(nnx.Module):
    """An activation and a convolution, twice, added to the input."""

    def __init__(self, channels: int, nonlinearity: str, rngs: nnx.Rngs):
        self.conv_0 = PaddedConv(channels, channels, rngs)
        self.conv_1 = PaddedConv(channels, channels, rngs)
        self.nonlinearity = nonlinearity

    def __call__(self, x: Array) -> Array:
        """Return maps of the same shape, ``[N, H, W, C]``."""
        activation = ACTIVATIONS[self.nonlinearity]
        return x + self.conv_1(activation(self.conv_0(activation(x))))


class ResidualStage(nnx.Module):
    """A convolution, a max-pooling and the blocks, ``-> [N, H / 2, W / 2, O]``.

    Odd sizes are halved and rounded up.
    """

    def __init__(self, inputs: int, outputs: int, nonlinearity: str, rngs: nnx.Rngs):
        self.conv = PaddedConv(inputs, outputs, rngs)
        for index in range(_BLOCKS):
            block = ResidualBlock(outputs, nonlinearity, rngs)
            setattr(self, f"block_{index}", block)

    def __call__(self, x: Array) -> Array:
        """Return the stage's output, before the activation."""
        x = max_pool(self.conv(x))
        for index in range(_BLOCKS):
            x = getattr(self, f"block_{index}")(x)
        return x


@jax.custom_vjp
def max_pool(x: Float[Array, "N H W C"]) -> Float[Array, "N P Q C"]:
    """Return the maximum of each 3x3 window with stride 2, borders padded.

    If several pixels of a window are the maximum, they share its gradient.
    """
    borders = ((0, 0), (1, 1), (1, 1), (0, 0))
    window, strides = (1, _SIZE, _SIZE, 1), (1, 2, 2, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, borders)


def _max_pool_by_slices(x: Array) -> Array:
    """Compute `max_pool` with a gradient that is 2.5 times faster on the CPU.

    Its forward pass is slower, so it is used only with a gradient.
    """
    for axis in (1, 2):
        half = (x.shape[axis] + 1) // 2
        borders = [(0, 0)] * 4
        borders[axis] = (1, 2 * half - x.shape[axis])
        padded = jnp.pad(x, borders, constant_values=-jnp.inf)
        end = 2 * half - 1
        first, second, third = (
            lax.slice_in_dim(padded, i, i + end, 2, axis) for i in range(_SIZE)
        )
        x = jnp.maximum(jnp.maximum(first, second), third)
    return x


max_pool.defvjp(
    lambda x: jax.vjp(_max_pool_by_slices, x), lambda pullback, dy: pullback(dy)
)
