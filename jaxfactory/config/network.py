"""Settings of the networks: the actor-critic, and those of an exploration bonus."""

from dataclasses import dataclass
from typing import Literal

from jaxfactory._util.errors import UserError
from jaxfactory.config import validation


# Larger values are mistakes and would exhaust memory.
_MAX_UNITS = 16_384
_MAX_CHANNELS = 4_096
_MAX_KERNEL = 256
_MAX_LAYERS = 64


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Architecture of the actor-critic network.

    Examples:
        >>> small = NetworkConfig(conv_channels=(8, 16, 16), core="lstm")
        >>> small.core_size
        256
    """

    encoder: str = "conv"
    """Encoder of observations: conv, resnet_impala, or your own Flax NNX class as
    package.module:Class or file.py:Class (alias: --network)."""
    conv_channels: tuple[int, ...] = (16, 32, 64)
    """Output channels of each convolution, or of each resnet_impala stage."""
    conv_kernels: tuple[int, ...] = (8, 4, 3)
    """Kernel size of each convolution."""
    conv_strides: tuple[int, ...] = (4, 2, 2)
    """Stride of each convolution."""
    hidden_size: int = 256
    """Units of the dense layer after the convolutions."""
    dense_sizes: tuple[int, ...] = ()
    """Units of further dense layers after that one."""
    core: Literal["gru", "mingru", "lstm", "none"] = "gru"
    """Recurrent core between the encoder and the heads. mingru's gates do not see its
    state, so all steps of a rollout are computed at once."""
    core_size: int = 256
    """Units of the recurrent core."""
    core_layers: int = 1
    """Layers of the recurrent core."""
    feature_norm: bool = False
    """Normalize the encoder's features to mean 0 and variance 1 for each observation
    (layer normalization) before the core."""
    core_skip: bool = False
    """Let the heads see the encoder's features beside the output of the core."""
    measurements_sizes: tuple[int, ...] = (128, 128)
    """Units of the dense layers that encode the measurements, if there are any."""
    decoder_sizes: tuple[int, ...] = ()
    """Units of the dense layers between the core and the heads."""
    nonlinearity: Literal["elu", "relu", "tanh"] = "elu"
    """Activation after each convolution and dense layer."""
    init_gain: float = 1.0
    """Factor of the encoder's initial weights, which without it lie between
    -1/sqrt(n) and 1/sqrt(n) for n inputs; 2.45 keeps the size of activations from layer
    to layer."""
    policy_gain: float = 1.0
    """Gain of the initial weights from the features to the probabilities of actions; a
    small one begins with nearly equal probabilities."""
    separate_critic: bool = False
    """Give the value function its own encoder, core and decoder, instead of sharing the
    policy's."""
    critic_sees: Literal["none", "variables"] = "none"
    """What the value function sees in training besides the observation: variables, the
    scenario's game variables, which the policy never sees. Acting and evaluations do
    not need them."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the factors of convolutions, dense layers and the GRU; sums, parameters
    and their updates are float32. auto is bfloat16 on CPUs with AVX-512-BF16 or AMX,
    which takes half the time there, if the network consists of convolutions and dense
    layers with multiples of 16 channels and units and a gru or mingru; elsewhere it
    is float32."""

    def __post_init__(self) -> None:
        validation.positive(
            self, "hidden_size", "core_size", "conv_channels", "conv_kernels",
            "conv_strides", "measurements_sizes", "decoder_sizes", "dense_sizes",
            "core_layers", "init_gain", "policy_gain",
        )  # fmt: skip
        validation.at_most(
            self, hidden_size=_MAX_UNITS, core_size=_MAX_UNITS,
            measurements_sizes=_MAX_UNITS, decoder_sizes=_MAX_UNITS,
            dense_sizes=_MAX_UNITS, conv_channels=_MAX_CHANNELS,
            conv_kernels=_MAX_KERNEL, conv_strides=_MAX_KERNEL, core_layers=_MAX_LAYERS,
            init_gain=1e3, policy_gain=1e3,
        )  # fmt: skip
        validation.not_longer(
            self, _MAX_LAYERS, "conv_channels", "measurements_sizes", "decoder_sizes",
            "dense_sizes",
        )  # fmt: skip
        if self.core == "none" and self.core_layers != 1:
            raise UserError(
                f"--core-layers {self.core_layers} needs a recurrent core, and --core "
                "none has none; leave one of them out"
            )
        if self.core == "none" and self.core_skip:
            raise UserError(
                "--core-skip does nothing with --core none, whose heads see the "
                "encoder's features anyway; add --no-core-skip or another --core"
            )
        if self.encoder == "resnet_impala":
            self._check_residual()
            return
        lengths = {
            len(self.conv_channels),
            len(self.conv_kernels),
            len(self.conv_strides),
        }
        if len(lengths) != 1:
            raise UserError(
                f"--conv-channels {self.conv_channels}, --conv-kernels "
                f"{self.conv_kernels} and --conv-strides {self.conv_strides} must have "
                "the same number of entries, one for each convolution"
            )

    def _check_residual(self) -> None:
        for name in ("conv_kernels", "conv_strides"):
            if getattr(self, name) != getattr(NetworkConfig, name):
                sizes = " ".join(map(str, getattr(self, name)))
                raise UserError(
                    f"--{name.replace('_', '-')} {sizes} does nothing with --encoder "
                    "resnet_impala, whose kernels are 3x3; leave it out"
                )


@dataclass(frozen=True, kw_only=True)
class BonusConfig:
    """Reward for what is new to the agent, where the environment's own is sparse.

    Examples:
        >>> BonusConfig(bonus="rnd+episodic").kinds
        ('rnd', 'episodic')
        >>> BonusConfig().kinds
        ()
    """

    bonus: Literal["none", "rnd", "episodic", "rnd+episodic"] = "none"
    """Reward new observations in training: rnd, those unlike any so far (random network
    distillation); episodic, those unlike the others of their episode; or both.
    Evaluations ignore it."""
    bonus_coef: float = 0.5
    """Coefficient of the bonus's advantage, which is added to the rewards' own; bonuses
    are scaled so that their discounted sums have a standard deviation of 1."""
    bonus_gamma: float = 0.99
    """Discount factor of the bonus per agent step."""

    def __post_init__(self) -> None:
        validation.within(self, "bonus_coef", 0.0, 1e9)
        # At 1, the sums over all episodes would grow without bound.
        validation.within(self, "bonus_gamma", 0.0, 0.9999)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The bonuses in use, in the order of their arrays."""
        return () if self.bonus == "none" else tuple(self.bonus.split("+"))
