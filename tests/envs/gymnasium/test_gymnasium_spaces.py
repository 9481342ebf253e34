"""From Gymnasium's spaces to arrays and back, with literal values."""

import re

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from jaxfactory._util.errors import UserError
from jaxfactory.envs.gymnasium.actions import ActionCodec
from jaxfactory.envs.gymnasium.observations import ObservationCodec, image_shape
from jaxfactory.spec import ActionSpec, ObservationSpec


@pytest.mark.parametrize(
    ("shape", "dtype", "image"),
    [
        ((72, 128, 3), np.uint8, (72, 128, 3)),
        ((4, 84, 84), np.uint8, (84, 84, 4)),
        ((84, 84), np.uint8, (84, 84, 1)),
        ((128,), np.uint8, None),
        ((3, 3, 2), np.uint8, None),
        ((84, 84, 3), np.float32, None),
    ],
)
def test_which_spaces_are_images(shape, dtype, image):
    assert image_shape(spaces.Box(0, 1, shape, dtype)) == image


def test_a_vector():
    codec = ObservationCodec(spaces.Box(-1, 1, (2, 2), np.float64))
    assert codec.spec == ObservationSpec(image=None, measurements=4)
    vector = codec.vector(np.arange(8.0).reshape(2, 2, 2))
    assert vector.dtype == np.float32
    assert vector.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_choices_are_one_hot():
    codec = ObservationCodec(spaces.Discrete(3, start=5))
    assert codec.vector(np.array([5, 7])).tolist() == [[1, 0, 0], [0, 0, 1]]
    codec = ObservationCodec(spaces.MultiDiscrete([2, 3]))
    assert codec.spec.measurements == 5
    assert codec.vector(np.array([[1, 2]])).tolist() == [[0, 1, 0, 0, 1]]


def test_parts_of_a_dictionary_stand_side_by_side():
    image = spaces.Box(0, 255, (8, 9, 1), np.uint8)
    space = spaces.Dict(
        {
            "back": spaces.Box(0, 255, (2, 8, 9), np.uint8),
            "front": image,
            "inner": spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 1, (1,)))),
        }
    )
    codec = ObservationCodec(space)
    assert codec.spec == ObservationSpec(image=(8, 9, 3), measurements=3)
    batch = batch_space(space, 5).sample()
    pixels = codec.image(batch)
    np.testing.assert_array_equal(pixels[..., 0], batch["back"][:, 0])
    np.testing.assert_array_equal(pixels[..., 2], batch["front"][..., 0])
    vector = codec.vector(batch)
    np.testing.assert_array_equal(vector[:, 1], batch["inner"][0])
    np.testing.assert_array_equal(vector[:, 2:], batch["inner"][1])
    one = codec.batch_of_one(space.sample())
    assert codec.image(one).shape == (1, 8, 9, 3)


def test_actions_of_every_kind_in_one_row():
    space = spaces.Dict(
        {
            "aim": spaces.Box(np.float32([-2.0, 0.0]), np.float32([4.0, np.inf])),
            "move": spaces.Discrete(3, start=-1),
            "press": spaces.MultiBinary(2),
            "rest": spaces.Tuple(
                (spaces.MultiDiscrete([[2, 4]]), spaces.Box(0, 9, (1,), np.int64))
            ),
        }
    )
    codec = ActionCodec(space)
    # Heads: move, press, press, and two of rest; numbers: two of aim, one of rest.
    assert codec.spec == ActionSpec(heads=(3, 2, 2, 2, 4), continuous=3)
    row = np.array([2, 0, 1, 1, 3, 0.5, -7.0, 0.2], np.float32)
    action = codec.decode_one(row)
    assert space.contains(action)
    # -2..4 has its middle at 1 and is 3 to each side; the open end only clips.
    assert action["aim"].tolist() == [2.5, 0.0]
    assert action["move"] == 1
    assert action["press"].tolist() == [0, 1]
    assert action["rest"][0].tolist() == [[1, 3]]
    # 4.5 + 0.2 x 4.5 = 5.4
    assert action["rest"][1].tolist() == [5]
    batch = codec.decode(np.stack([row, row, row]))
    assert batch_space(space, 3).contains(batch)
    far = codec.decode_one(np.array([0, 0, 0, 0, 0, -9, 9, 9], np.float32))
    assert far["aim"].tolist() == [-2.0, 9.0]


def test_a_wrong_index():
    codec = ActionCodec(spaces.MultiDiscrete([2, 3]))
    codec.check(np.array([[1, 2]]))
    with pytest.raises(ValueError, match="action index 2 of environment 1 is outside"):
        codec.check(np.array([[1, 2], [2, 0]]))


@pytest.mark.parametrize(
    ("space", "says"),
    [
        (spaces.Text(5), "the observation is a Text space"),
        (spaces.Dict({"a": spaces.Text(5)}), "the observation 'a' is a Text space"),
        (
            spaces.Tuple([spaces.Box(0, 255, (n, n), np.uint8) for n in (8, 9)]),
            "images of different sizes (8x8, 9x9)",
        ),
    ],
    ids=str,
)
def test_observations_that_cannot_be_read(space, says):
    with pytest.raises(UserError, match=re.escape(says)):
        ObservationCodec(space)


def test_actions_that_cannot_be_decided():
    with pytest.raises(UserError, match="the action 'x' is a Sequence space"):
        ActionCodec(spaces.Dict({"x": spaces.Sequence(spaces.Discrete(2))}))
    with pytest.raises(UserError, match="has no choice to make"):
        ActionCodec(spaces.Tuple(()))
