"""Maps the state dictionary of Sample Factory's actor-critic to jaxfactory's network.

Every entry of the dictionary must have a counterpart, so that no part of the network is
dropped.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxfactory._util.errors import UserError
from jaxfactory.config.train import NetworkConfig
from jaxfactory.sample_factory.layers import ENCODERS, ImageReader, LayerReader
from jaxfactory.sample_factory.settings import Settings
from jaxfactory.sample_factory.slots import Place, Slot, parameter_names
from jaxfactory.spec import ObservationSpec


_GATES = {"gru": 3, "lstm": 4}


class Layout(NamedTuple):
    """The network in a state dictionary.

    Attributes:
        network: The network's configuration.
        observation: The network's observations.
        slots: Where each parameter belongs.
    """

    network: NetworkConfig
    observation: ObservationSpec
    slots: tuple[Slot, ...]


class _Tower(NamedTuple):
    """The layers from the observation to a head: encoder, core and decoder.

    Attributes:
        image: (height, width, channels) of the image.
        measurements: Number of measurements.
        shape: The layers as fields of `NetworkConfig`.
    """

    image: tuple[int, int, int]
    measurements: int
    shape: dict[str, Any]


def describe(
    settings: Settings, model: Mapping[str, np.ndarray], order: np.ndarray
) -> Layout:
    """Return the layout of a state dictionary.

    Args:
        settings: The experiment's settings.
        model: The state dictionary.
        order: For each of jaxfactory's logits, the index of Sample Factory's.

    Raises:
        UserError: If an entry has no counterpart in jaxfactory's network.
    """
    _check_settings(settings, model)
    reader = LayerReader(settings, model)
    shared = settings.get("actor_critic_share_weights", True)
    tower = _read_tower(reader, "" if shared else "actor_", ())
    if not shared and _read_tower(reader, "critic_", ("critic",)) != tower:
        raise reader.mismatch("its actor and its critic have different layers")
    _read_heads(reader, order)
    _check_complete(reader)
    network = NetworkConfig(
        **tower.shape,
        nonlinearity=settings.get("nonlinearity", "elu"),
        separate_critic=not shared,
        # The agent computes what it did where it was trained.
        precision="float32",
    )
    observation = ObservationSpec(image=tower.image, measurements=tower.measurements)
    return Layout(network, observation, tuple(reader.found))


def _check_settings(settings: Settings, model: Mapping[str, np.ndarray]) -> None:
    """Refuse settings that jaxfactory's network does not support."""
    architecture = settings.get("encoder_conv_architecture", "convnet_simple")
    activation = settings.get("nonlinearity", "elu")
    keys = settings.get("normalize_input_keys", [])
    reasons = {
        f"encoder_conv_architecture {architecture}": architecture not in ENCODERS,
        f"nonlinearity {activation}": activation not in ("elu", "relu", "tanh"),
        "continuous actions": any(name.endswith("learned_stddev") for name in model),
        f"normalize_input_keys {keys} (statistics for some observations only)":
            bool(keys) and not _observed(model) <= set(keys),
    }  # fmt: skip
    for reason, applies in reasons.items():
        if applies:
            raise UserError(
                f"{settings.source}: this agent cannot be imported: jaxfactory's "
                f"network has no counterpart of {reason}"
            )


def _observed(model: Mapping[str, np.ndarray]) -> set[str]:
    both = any("encoder.measurements_head." in name for name in model)
    return {"obs", "measurements"} if both else {"obs"}


def _read_tower(reader: LayerReader, prefix: str, place: Place) -> _Tower:
    """Map an encoder with its core and decoder.

    Args:
        reader: Reader of the state dictionary.
        prefix: Prefix of the three names in the state dictionary.
        place: Keys of the tower in jaxfactory's parameters.
    """
    architecture = reader.settings.get("encoder_conv_architecture", "convnet_simple")
    image = ImageReader(reader, f"{prefix}encoder", (*place, "encoder"))
    layers = image.read(architecture)._asdict()
    shape = {name: value for name, value in layers.items() if value is not None}
    measurements = 0
    root = f"{prefix}encoder.measurements_head"
    if f"{root}.0.weight" in reader.model:
        measurements = reader.shape(f"{root}.0.weight", 2)[1]
        shape["measurements_sizes"] = reader.layers(
            root, (*place, "encoder"), "measurements"
        )
    shape |= _read_core(reader, f"{prefix}core.core", place)
    shape["decoder_sizes"] = reader.layers(f"{prefix}decoder.mlp", place, "decoder")
    return _Tower(image.size(), measurements, shape)


def _read_core(reader: LayerReader, root: str, place: Place) -> dict[str, Any]:
    """Map the recurrent core; return its fields of `NetworkConfig`."""
    settings = reader.settings
    size = settings.get("rnn_size", 512)
    if not settings.get("use_rnn", True):
        return {"core": "none", "core_size": size}
    kind = settings.get("rnn_type", "gru")
    if kind not in _GATES:
        raise reader.mismatch(f"rnn_type is {kind!r}")
    layers = settings.get("rnn_num_layers", 1)
    if layers < 1:
        raise reader.mismatch(f"rnn_num_layers is {layers}")
    outputs = _GATES[kind] * size
    for layer in range(layers):
        core = "core" if layer == 0 else f"core_{layer}"
        inputs = reader.shape(f"{root}.weight_ih_l{layer}", 2)[1]
        # Both networks order the gates alike and have two biases.
        for ours, theirs, shape in (
            ("kernel", "weight_ih", (outputs, inputs)),
            ("recurrent_kernel", "weight_hh", (outputs, size)),
            ("bias", "bias_ih", (outputs,)),
            ("recurrent_bias", "bias_hh", (outputs,)),
        ):
            name = f"{root}.{theirs}_l{layer}"
            reader.add((*place, core, ours), name, np.transpose, *shape)
    return {"core": kind, "core_size": size, "core_layers": layers}


def _read_heads(reader: LayerReader, order: np.ndarray) -> None:
    root = "action_parameterization.distribution_linear"
    _, inputs = reader.shape(f"{root}.weight", 2)
    reader.add(
        ("policy", "kernel"), f"{root}.weight", lambda w: w[order].T,
        len(order), inputs,
    )  # fmt: skip
    reader.add(("policy", "bias"), f"{root}.bias", lambda b: b[order], len(order))
    reader.affine(("value",), "critic_linear")


def _check_complete(reader: LayerReader) -> None:
    """Refuse a state dictionary with parameters that were not mapped."""
    known = {slot.name for slot in reader.found}
    rest = [name for name in parameter_names(reader.model) if name not in known]
    if rest:
        raise reader.refusal(
            f"jaxfactory's network has no counterpart of its {rest[0]}"
        )
