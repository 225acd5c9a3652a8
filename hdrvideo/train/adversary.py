"""HDRM's discriminator, and all that it needs to learn beside the net."""

from typing import Final

import torch
from torch import Tensor, distributed, nn

from hdrvideo.errors import WeightsError
from hdrvideo.train.paint_losses import patch_loss

_SLOPE: Final = 0.2
_MOMENTS: Final = ("exp_avg", "exp_avg_sq")
# Masks that the discriminator is told: own_visible and background, ``(B, 1, R, R)`` each.
Told = tuple[Tensor, Tensor]


class PatchDiscriminator(nn.Module):
    """Says of each patch whether it is a true picture (PatchGAN, as in HDR's released code).

    Args:
        width: Channels of the first layer (released: 64); the next have twice, four and eight times
            as many, the last of them at most 512.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = (5, width, 2 * width, 4 * width, min(8 * width, 512), 1)
        layers: list[nn.Module] = []
        for k in range(5):
            conv = nn.Conv2d(widths[k], widths[k + 1], 4, stride=2 if k < 3 else 1, padding=1)
            layers += [nn.utils.parametrizations.spectral_norm(conv), nn.LeakyReLU(_SLOPE)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, rgb: Tensor, own_visible: Tensor, background: Tensor) -> Tensor:
        """Give logits ``(B, 1, p, p)`` for a picture ``(B, 3, R, R)`` and two masks of it."""
        out: Tensor = self.layers(torch.cat([2 * rgb - 1, own_visible, background], dim=1))
        return out


class Adversary:
    """The discriminator with an optimiser of its own (released code: Adam, betas 0 and 0.9).

    Many workers have the same one: it starts from a seed and learns from the mean of their
    gradients.
    """

    def __init__(self, width: int, learning_rate: float, *, seed: int) -> None:
        """Begin anew; see :class:`PatchDiscriminator` for ``width``."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = PatchDiscriminator(width)
        self._optimizer = torch.optim.AdamW(
            self.net.parameters(), learning_rate, betas=(0.0, 0.9), weight_decay=0.0
        )

    def learn(self, bare: Tensor, truth: Tensor, told: Told, hole: Tensor) -> Tensor:
        """Make a step.

        Args:
            bare: ``(B, 3, R, R)`` made pictures, without gradients.
            truth: ``(B, 3, R, R)`` true ones.
            told: Masks of both.
            hole: ``(B, 1, R, R)`` where they differ.

        Returns:
            The loss before the step.
        """
        net = self.net.to(bare.device).train().requires_grad_(True)
        true, made = net(truth, *told), net(bare, *told)
        loss = (patch_loss(true, hole, is_true=True) + patch_loss(made, hole, is_true=False)) / 2
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        if distributed.is_initialized():
            for parameter in net.parameters():
                if parameter.grad is not None:
                    distributed.all_reduce(parameter.grad)
                    parameter.grad.div_(distributed.get_world_size())
        self._optimizer.step()
        return loss.detach()

    def judge(self, bare: Tensor, told: Told, hole: Tensor) -> Tensor:
        """Give the loss of pictures that are to be taken for true ones; nothing is learnt here."""
        return patch_loss(self.net.requires_grad_(False)(bare, *told), hole, is_true=True)

    def state(self) -> dict[str, Tensor]:
        """Give all that changes: weights, norms' vectors, the optimiser's moments."""
        tensors = {f"net/{name}": value for name, value in self.net.state_dict().items()}
        for name, parameter in self.net.named_parameters():
            for moment, value in self._optimizer.state.get(parameter, {}).items():
                tensors[f"{moment}/{name}"] = value
        return tensors

    def load(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        """Take back what :meth:`state` gave.

        Raises:
            WeightsError: It is of another discriminator.
        """
        start = "net/"
        values = {n.removeprefix(start): v for n, v in tensors.items() if n.startswith(start)}
        try:
            self.net.to(device).load_state_dict(values)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise WeightsError(f"the run's discriminator does not fit: {reason}") from error
        for name, parameter in self.net.named_parameters():
            if f"step/{name}" not in tensors:
                continue
            moments = {"step": tensors[f"step/{name}"]}
            for moment in _MOMENTS:
                there = torch.empty_like(parameter).copy_(tensors[f"{moment}/{name}"])
                moments[moment] = there.detach()
            self._optimizer.state[parameter] = moments
