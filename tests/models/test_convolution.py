"""The convolution's CPU lowering against XLA's own."""

import os
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfactory import _kernels
from jaxfactory.models import convolution


# (image, kernel size, stride, inputs, outputs); the first three are the network's.
SHAPES = [
    ((72, 128), 8, 4, 3, 32),
    ((17, 31), 4, 2, 32, 64),
    ((7, 14), 3, 2, 64, 128),
    ((72, 128), 8, 4, 3, 16),
    ((17, 31), 4, 2, 16, 48),
    ((9, 12), 4, 1, 4, 16),
    ((20, 20), 2, 3, 8, 16),
    ((12, 16), 4, 2, 1, 8),
    ((11, 13), 5, 3, 2, 4),
    ((9, 9), 1, 1, 4, 4),
    ((9, 9), 2, 3, 4, 4),
    ((10, 10), 3, 1, 4, 4),
]


@pytest.fixture(params=[16, 8])
def lanes(request):
    """Let the C++ kernels use the widest vectors, or narrow ones."""
    _kernels.limit_convolution_lanes(request.param)
    yield
    _kernels.limit_convolution_lanes(16)


def test_the_networks_convolutions_have_kernels_of_their_own():
    if not convolution._targets():
        pytest.skip("the processor has no AVX2")
    for image, size, _, inputs, outputs in SHAPES[:3]:
        shapes = (6, *image, inputs), (size, size, inputs, outputs)
        assert convolution._fits(*shapes)
        assert convolution._fits(*shapes, image_gradient=inputs > 3)


@pytest.mark.parametrize(("image", "size", "stride", "inputs", "outputs"), SHAPES)
def test_lowerings_agree(image, size, stride, inputs, outputs, lanes):
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (37, *image, inputs))  # not a multiple of anything
    kernel = jax.random.normal(keys[1], (size, size, inputs, outputs))
    kernel = kernel / np.sqrt(size * size * inputs)

    # As arguments: XLA would fold constants while it compiles, which takes seconds.
    @partial(jax.jit, static_argnums=0)
    def run(function, x, kernel):
        y, pullback = jax.vjp(lambda x, k: function(x, k, stride), x, kernel)
        weight = jax.random.normal(keys[2], y.shape) / np.sqrt(y[..., 0].size)
        return y, *pullback(weight)

    got = run(convolution.conv2d, x, kernel)
    expected = run(convolution.plain_conv2d, x, kernel)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4)


def test_by_hand():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    kernel = jnp.array([[1.0, 0.0], [0.0, 10.0]]).reshape(2, 2, 1, 1)
    # Corners 0, 2, 8, 10 plus ten times their lower right neighbors 5, 7, 13, 15.
    got = convolution.conv2d(x, kernel, 2)
    np.testing.assert_allclose(got[0, :, :, 0], [[50.0, 72.0], [138.0, 160.0]])


LITTLE_MEMORY = """
import resource
import jax, jax.numpy as jnp
from jaxfactory.models import convolution

def loss(kernel, x):
    return convolution.conv2d(x, kernel, 1).sum()

x = jnp.ones((16, 4, 4, 512))
kernel = jnp.ones((4, 4, 512, 512))
gradient = jax.jit(jax.grad(loss))
# The sums over its 16 pieces are as large as 16 kernels of 16 MiB.
gradient(kernel, x).block_until_ready()
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 2**27
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    gradient(kernel, x).block_until_ready()
except (ValueError, RuntimeError) as error:
    print(str(error))
"""


def test_a_kernel_without_memory_is_an_error_and_no_end():
    if "C++" not in convolution.lowering():
        pytest.skip("no kernels here")
    assert convolution._fits((16, 4, 4, 512), (4, 4, 512, 512))
    done = subprocess.run(
        [sys.executable, "-c", LITTLE_MEMORY],
        capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no memory is left" in done.stdout
