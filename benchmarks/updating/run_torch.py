"""Worker of update.py: the same network, loss and optimizer step in PyTorch.

The recurrent core runs over full sequences without resets, which is faster than real
episodes allow, and the observation statistics are not updated.
"""

import contextlib
import json
import sys

from common import machine

from jaxfactory.config.presets import PRESETS
from updating.worker import ACTING, ACTIONS, ENVS, STEPS, images, serve


try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError:
    remedy = "get it with pip install torch"
    print(json.dumps({"unavailable": f"PyTorch is not installed; {remedy}"}))
    sys.exit(0)


class Network(nn.Module):
    """Convolutions, a dense layer, a GRU and two heads."""

    def __init__(self, config, layout):
        """Make the layers."""
        super().__init__()
        channels = (3, *config.conv_channels)
        layers = []
        for index, (size, stride) in enumerate(
            zip(config.conv_kernels, config.conv_strides)
        ):
            layers.append(nn.Conv2d(channels[index], channels[index + 1], size, stride))
            layers.append(nn.ELU())
        self.convolutions = nn.Sequential(*layers)
        flat = self.convolutions(torch.zeros(1, 3, 72, 128)).numel()
        self.dense = nn.Linear(flat, config.hidden_size)
        self.core = nn.GRU(config.hidden_size, config.core_size)
        self.policy = nn.Linear(config.core_size, ACTIONS)
        self.value = nn.Linear(config.core_size, 1)
        # Random statistics; the cost of normalization does not depend on the values.
        self.register_buffer("mean", torch.rand(3, 72, 128))
        self.register_buffer("scale", torch.rand(3, 72, 128) + 0.5)
        self.layout = layout

    def forward(self, pixels, hidden):
        """Run T steps of B images, uint8 `[T, B, C, H, W]`."""
        steps, envs = pixels.shape[:2]
        x = pixels.flatten(0, 1).to(torch.float32, memory_format=self.layout)
        x = torch.clamp((x / 255 - self.mean) * self.scale, -5, 5)
        x = self.convolutions(x).flatten(1)
        x = functional.elu(self.dense(x))
        x, hidden = self.core(x.view(steps, envs, -1), hidden)
        return self.policy(x), self.value(x)[..., 0], hidden


def main() -> None:
    """Set up and serve."""
    name, preset = sys.argv[1:]
    torch.set_num_threads(len(machine.cores()))
    last = name != "torch"
    layout = torch.channels_last if last else torch.contiguous_format
    config = PRESETS[preset].network
    network = Network(config, layout).to(memory_format=layout)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, eps=1e-6)
    seen = torch.from_numpy(images(1, ACTING)).permute(0, 1, 4, 2, 3)
    rollout = torch.from_numpy(images(STEPS, ENVS)).permute(0, 1, 4, 2, 3)
    if not last:
        seen, rollout = seen.contiguous(), rollout.contiguous()
    acting = torch.zeros(1, ACTING, config.core_size)
    hidden = torch.zeros(1, ENVS, config.core_size)
    action = torch.randint(ACTIONS, (STEPS, ENVS))
    old_log_prob = -torch.rand(STEPS, ENVS)
    advantage, target, old_value = (torch.randn(STEPS, ENVS) for _ in range(3))

    def precision():
        if name == "torch-bf16":
            return torch.autocast("cpu", torch.bfloat16)
        return contextlib.nullcontext()

    @torch.inference_mode()
    def forward() -> None:
        with precision():
            logits, _, _ = network(seen, acting)
        torch.distributions.Categorical(
            logits=logits.float(), validate_args=False
        ).sample()

    def gradient() -> None:
        optimizer.zero_grad()
        with precision():
            logits, value, _ = network(rollout, hidden)
        logits, value = logits.float(), value.float()
        log_p = functional.log_softmax(logits, -1)
        log_prob = log_p.gather(-1, action[..., None])[..., 0]
        ratio = torch.exp(log_prob - old_log_prob)
        centered = (advantage - advantage.mean()) / advantage.std()
        clipped = torch.clamp(ratio, 1 / 1.1, 1.1)
        policy_loss = -torch.minimum(ratio * centered, clipped * centered).mean()
        near = old_value + torch.clamp(value - old_value, -0.2, 0.2)
        errors = torch.maximum((value - target) ** 2, (near - target) ** 2)
        gap = (log_p.exp() - 1 / ACTIONS) * log_p
        loss = policy_loss + 0.5 * errors.mean() + 0.0005 * gap.sum(-1).mean()
        loss.backward()

    def whole() -> None:
        gradient()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 4.0)
        optimizer.step()

    serve({"forward": forward, "gradient": gradient, "update": whole})


if __name__ == "__main__":
    main()
