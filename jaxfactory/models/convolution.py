"""Strided convolution without padding, NHWC, with its own lowerings for the CPU.

On the CPU, shapes that the C++ kernels support (csrc/kernels/convolution.h) use them
for the forward pass and both gradients. Other shapes, and installations without the
kernels, use XLA's forward pass and kernel gradient, and compute the image gradient as a
sub-pixel convolution. Measurements are in benchmarks/results/update.json.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


try:
    from jaxfactory import _kernels
except ImportError:  # built without them: XLA's lowerings compute the same
    _kernels = None

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def plain_conv2d(
    x: Float[Array, "N H W C"], kernel: Float[Array, "k k C O"], stride: int
) -> Float[Array, "N P Q O"]:
    """Convolve images with a square kernel, VALID, in XLA's own lowering."""
    return _convolve(x, kernel, stride, 0)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv2d(
    x: Float[Array, "N H W C"], kernel: Float[Array, "k k C O"], stride: int
) -> Float[Array, "N P Q O"]:
    """Convolve images with a square kernel, VALID, with one stride for both axes.

    Computes the same as `plain_conv2d`. Supports reverse-mode differentiation only:
    a custom gradient has no forward mode.
    """
    plain = partial(plain_conv2d, stride=stride)
    if not _fits(x.shape, kernel.shape):
        return plain(x, kernel)
    shape = jax.eval_shape(plain, x, kernel).shape
    fast = partial(_call, "forward", shape, stride)
    return lax.platform_dependent(x, kernel, cpu=fast, default=plain)


def lowering() -> str:
    """Return what convolutions are computed with on the CPU: "C++" or "XLA"."""
    return "C++" if _targets() else "XLA"


@cache
def _targets() -> frozenset[str]:
    """Register the C++ kernels with JAX; return the names of those available."""
    if _kernels is None:
        return frozenset()
    handlers = _kernels.xla_convolutions()
    try:
        for name, handler in handlers.items():
            jax.ffi.register_ffi_target(f"jaxfactory_{name}", handler, platform="cpu")
    except Exception:
        # Built for another JAX: XLA's own lowering computes the same.
        return frozenset()
    return frozenset(handlers)


def _fits(
    image: tuple[int, ...], kernel: tuple[int, ...], *, image_gradient: bool = False
) -> bool:
    """Whether the C++ kernels support these shapes: see csrc/kernels/convolution.h."""
    size, _, channels, outputs = kernel
    unit = 16 if image_gradient else 8
    shapes_fit = outputs % 16 == 0 and size * channels % unit == 0 and image[0] > 0
    return shapes_fit and bool(_targets())


def _call(
    name: str, shape: tuple[int, ...], stride: int, one: Array, other: Array
) -> Array:
    result = jax.ShapeDtypeStruct(shape, jnp.float32)
    call = jax.ffi.ffi_call(f"jaxfactory_{name}", result, vmap_method="sequential")
    return call(one, other, stride=np.int64(stride))


def _convolve(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    pads = ((padding, padding), (padding, padding))
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), pads, dimension_numbers=_LAYOUT
    )


def _forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return conv2d(x, kernel, stride), (x, kernel)


def _backward(
    stride: int, saved: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    plain_dk = partial(_plain_kernel_gradient, kernel.shape, stride)
    fast_dk = partial(_call, "kernel_gradient", kernel.shape, stride)
    fits = _fits(x.shape, kernel.shape)
    dk = lax.platform_dependent(
        x, dy, cpu=fast_dk if fits else plain_dk, default=plain_dk
    )
    plain_dx = partial(_plain_input_gradient, x.shape, stride)
    if _fits(x.shape, kernel.shape, image_gradient=True):
        fast_dx = partial(_call, "image_gradient", x.shape, stride)
    elif stride > 1:
        fast_dx = partial(subpixel_input_gradient, x.shape, stride)
    else:
        fast_dx = plain_dx  # without a stride the two are the same convolution
    dx = lax.platform_dependent(kernel, dy, cpu=fast_dx, default=plain_dx)
    return dx, dk


conv2d.defvjp(_forward, _backward)


def _plain_kernel_gradient(
    shape: tuple[int, ...], stride: int, x: Array, dy: Array
) -> Array:
    zeros = jnp.zeros(shape, dy.dtype)  # only its shape matters: the map is linear
    _, pullback = jax.vjp(lambda kernel: plain_conv2d(x, kernel, stride), zeros)
    return pullback(dy)[0]


def _plain_input_gradient(
    shape: tuple[int, ...], stride: int, kernel: Array, dy: Array
) -> Array:
    zeros = jnp.zeros(shape, dy.dtype)  # only its shape matters: the map is linear
    _, pullback = jax.vjp(lambda x: plain_conv2d(x, kernel, stride), zeros)
    return pullback(dy)[0]


def subpixel_input_gradient(
    shape: tuple[int, ...],
    stride: int,
    kernel: Float[Array, "k k C O"],
    dy: Float[Array, "N P Q O"],
) -> Float[Array, "N H W C"]:
    """Return the gradient with respect to images of the given shape.

    XLA dilates `dy` with zeros and convolves those too. Instead, cut the image into
    blocks of stride x stride pixels. Pixel a of block i is reached by the kernel's
    entries ``a + stride * m`` from output ``i - m``,

        dx[stride * i + a] = sum over m of dy[i - m] kernel[stride * m + a],

    which is a dense convolution of `dy` to stride^2 * C channels, one for each pixel
    of a block (Shi et al., arXiv:1609.05158), followed by depth-to-space.
    """
    n, height, width, channels = shape
    size, outputs = kernel.shape[0], kernel.shape[-1]
    taps = -(-size // stride)
    short = taps * stride - size
    kernel = jnp.pad(kernel, ((0, short), (0, short), (0, 0), (0, 0)))
    kernel = kernel.reshape(taps, stride, taps, stride, channels, outputs)
    kernel = kernel[::-1, :, ::-1].transpose(0, 2, 5, 1, 3, 4)
    blocks = _convolve(dy, kernel.reshape(taps, taps, outputs, -1), 1, taps - 1)
    rows, columns = blocks.shape[1:3]
    blocks = blocks.reshape(n, rows, columns, stride, stride, channels)
    dx = blocks.transpose(0, 1, 3, 2, 4, 5)
    dx = dx.reshape(n, rows * stride, columns * stride, channels)
    dx = dx[:, :height, :width]
    # Pixels past the last window have no gradient.
    missing = ((0, 0), (0, height - dx.shape[1]), (0, width - dx.shape[2]), (0, 0))
    return jnp.pad(dx, missing)
