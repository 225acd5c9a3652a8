"""Discriminators, and all that they need to learn beside the net."""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, distributed, nn

from hdrvideo.errors import WeightsError
from hdrvideo.train.paint_losses import patch_loss

_SLOPE: Final = 0.2
_MOMENTS: Final = ("exp_avg", "exp_avg_sq")
# Masks that the discriminator is told, ``(B, 1, R, R)`` each; HDRM's: own_visible and background.
Told = tuple[Tensor, ...]


class PatchDiscriminator(nn.Module):
    """Says of each patch whether it is a true picture (PatchGAN, as in HDR's released code).

    Args:
        width: Channels of the first layer (released: 64); the next have twice, four and eight times
            as many, the last of them at most 512.
        n_masks: How many masks it is told.
    """

    def __init__(self, width: int, n_masks: int = 2) -> None:
        super().__init__()
        widths = (3 + n_masks, width, 2 * width, 4 * width, min(8 * width, 512), 1)
        layers: list[nn.Module] = []
        for k in range(5):
            conv = nn.Conv2d(widths[k], widths[k + 1], 4, stride=2 if k < 3 else 1, padding=1)
            layers += [nn.utils.parametrizations.spectral_norm(conv), nn.LeakyReLU(_SLOPE)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, rgb: Tensor, *told: Tensor) -> Tensor:
        """Give logits ``(B, 1, p, p)`` for a picture ``(B, 3, R, R)`` and masks of it."""
        out: Tensor = self.layers(torch.cat([2 * rgb - 1, *told], dim=1))
        return out


class Learner:
    """A net with an optimiser of its own, trained beside the one that is to be shipped.

    Adam with betas 0 and 0.9. Many workers have the same one: it starts from a seed and learns from
    the mean of their gradients.
    """

    def __init__(self, make: Callable[[], nn.Module], learning_rate: float, *, seed: int) -> None:
        """Begin anew.

        Args:
            make: Gives the net, its weights drawn at random.
            learning_rate: Of its optimiser.
            seed: Of the weights.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = make()
        self._optimizer = torch.optim.AdamW(
            self.net.parameters(), learning_rate, betas=(0.0, 0.9), weight_decay=0.0
        )

    def step(self, loss: Tensor) -> None:
        """Learn from a loss."""
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        if distributed.is_initialized():
            for parameter in self.net.parameters():
                if parameter.grad is not None:
                    distributed.all_reduce(parameter.grad)
                    parameter.grad.div_(distributed.get_world_size())
        self._optimizer.step()

    def teachable(self, device: torch.device) -> nn.Module:
        """Give the net on a device, ready to learn."""
        return self.net.to(device).train().requires_grad_(True)

    def fixed(self, device: torch.device) -> nn.Module:
        """Give the net on a device; nothing is learnt here."""
        return self.net.to(device).requires_grad_(False)

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


class Adversary(Learner):
    """The discriminator of a net that paints; see :class:`PatchDiscriminator`."""

    def __init__(self, width: int, learning_rate: float, *, seed: int, n_masks: int = 2) -> None:
        """Begin anew; see :class:`PatchDiscriminator` for ``width`` and ``n_masks``."""
        super().__init__(lambda: PatchDiscriminator(width, n_masks), learning_rate, seed=seed)

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
        net = self.teachable(bare.device)
        true, made = net(truth, *told), net(bare, *told)
        loss = (patch_loss(true, hole, is_true=True) + patch_loss(made, hole, is_true=False)) / 2
        self.step(loss)
        return loss.detach()

    def judge(self, bare: Tensor, told: Told, hole: Tensor) -> Tensor:
        """Give the loss of pictures that are to be taken for true ones; nothing is learnt here."""
        return patch_loss(self.fixed(bare.device)(bare, *told), hole, is_true=True)


class MotionDiscriminator(nn.Module):
    """Says of a hand's finger turns over time whether a hand moves so.

    After Deformer (Fu et al., ICCV 2023), section 3.6, and what its code does: a GRU of two layers
    over the frames' finger poses (no turn of the whole hand, no shape), attention pools them.
    Turns are matrices here, as axis-angles jump.
    """

    def __init__(self, n_turns: int, width: int = 128) -> None:
        super().__init__()
        self.gru = nn.GRU(9 * n_turns, width, num_layers=2, batch_first=True)
        self.score = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))
        self.out = nn.Linear(width, 1)

    def forward(self, turns: Tensor) -> Tensor:
        """Judge ``(N, T, n_turns, 3, 3)``: ``(N,)``, 1 = true."""
        read, _ = self.gru(turns.flatten(2))
        weight = self.score(read).softmax(dim=1)
        judged: Tensor = self.out((weight * read).sum(dim=1)).squeeze(-1)
        return judged


class MotionAdversary(Learner):
    """The refiner's discriminator, by least squares as in Deformer."""

    def __init__(self, n_turns: int, learning_rate: float, *, seed: int) -> None:
        """Begin anew."""
        super().__init__(lambda: MotionDiscriminator(n_turns), learning_rate, seed=seed)

    def learn(self, said: Tensor, true: Tensor) -> Tensor:
        """Make a step with turns ``(N, T, n_turns, 3, 3)``; give the loss before it.

        All workers must make it, those without a window (N = 0) too.
        """
        net = self.teachable(said.device)
        if len(said):
            loss: Tensor = ((net(true) - 1) ** 2).mean() + (net(said.detach()) ** 2).mean()
        else:
            loss = torch.stack([0 * p.sum() for p in net.parameters()]).sum()
        self.step(loss)
        return loss.detach()

    def judge(self, said: Tensor) -> Tensor:
        """Give the loss of motion that is to be taken for true; nothing is learnt here."""
        if not len(said):
            return 0 * said.sum()
        loss: Tensor = ((self.fixed(said.device)(said) - 1) ** 2).mean()
        return loss
