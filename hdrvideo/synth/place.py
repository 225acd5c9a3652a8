"""Where hands go on pasted pictures: what each picture is, how large, how turned, and where."""

import math
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hdrvideo.errors import SettingsError
from hdrvideo.synth.blend import grow, lay_affine, mask_boxes, soft_masks

# Where hands may lie is searched on a grid so many cells wide.
SEARCH_CELLS: Final = 64
# How often the base is laid anew on its own picture before it stays as it was taken.
BASE_DRAWS: Final = 8


@dataclass(frozen=True)
class PasteSettings:
    """What pasted pictures look like.

    Attributes:
        size_px: Side of the pictures.
        hand_share: Least and most longer side of the base's hand over the picture's.
        overlap: Least and most hidden share of the hand below; 0 to 1.
        one_share: Part of the pictures with one hand only.
        none_share: Part of the pictures with a background only.
        new_background_share: Part of the pictures with a background of their own.
        match_light_share: Part of the pictures in which the other hand takes the base's colours.
        front_share: Part of the pictures in which the base's hand is in front.
        turn_deg: Greatest turn of the base's hand and of the other against its own picture.
        size_ratio: Least and most size of the other hand over the base's.
        gain: Least and most factor on each colour channel of the whole picture.
        least_inside: Least part of the other hand that is inside the picture.
        feather_px: Width of the soft edge, inside the mask.
        tries: How often a pair is laid anew until its overlap fits.
    """

    size_px: int = 256
    hand_share: tuple[float, float] = (0.4, 0.6)
    overlap: tuple[float, float] = (0.1, 0.8)
    one_share: float = 0.1
    none_share: float = 0.05
    new_background_share: float = 0.3
    match_light_share: float = 0.7
    front_share: float = 0.5
    turn_deg: tuple[float, float] = (30.0, 90.0)
    size_ratio: tuple[float, float] = (0.8, 1.2)
    gain: tuple[float, float] = (0.8, 1.2)
    least_inside: float = 0.6
    feather_px: float = 1.5
    tries: int = 20

    def __post_init__(self) -> None:
        ranges = {
            "hand_share": (0.05, 1.0),
            "overlap": (0.0, 1.0),
            "turn_deg": (0.0, 180.0),
            "size_ratio": (0.2, 5.0),
            "gain": (0.1, 5.0),
            "feather_px": (0.0, 10.0),
            "size_px": (32, 4096),
            "tries": (1, 1000),
        }
        for field in fields(self):
            low, high = ranges.get(field.name, (0.0, 1.0))
            value = getattr(self, field.name)
            given = value if isinstance(value, tuple) else (value,)
            ordered = field.name == "turn_deg" or list(given) == sorted(given)
            if not ordered or not all(low <= x <= high for x in given):
                raise SettingsError(
                    f"PasteSettings.{field.name} is {value}, expected {low} to {high}, least first"
                )
        if self.one_share + self.none_share > 1:
            raise SettingsError(
                f"one_share {self.one_share} and none_share {self.none_share} are more than 1 "
                "together; lower one"
            )


@dataclass(frozen=True)
class Plan:
    """What each picture is.

    Attributes:
        two: ``(B,)`` bool; base and other are there.
        any: ``(B,)`` bool; the base is there.
        new: ``(B,)`` bool; the hands are cut out and laid over another background.
        match: ``(B,)`` bool; the other hand takes the base's colours.
        base_front: ``(B,)`` bool; the base's hand is in front of the other.
        base_side: ``(B,)`` int64 side of the base; the other hand has the other side.
    """

    two: Tensor
    any: Tensor
    new: Tensor
    match: Tensor
    base_front: Tensor
    base_side: Tensor

    def to(self, device: torch.device) -> "Plan":
        """Bring all to a device."""
        return Plan(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def draw_plan(
    n_crops: int,
    n: int,
    rng: np.random.Generator,
    settings: PasteSettings,
    *,
    has_backgrounds: bool,
) -> tuple[Plan, NDArray[np.int64]]:
    """Draw what each picture is, and which crops ``(2, B)`` it takes."""
    chance = rng.random((5, n))
    none = (chance[0] < settings.none_share) & has_backgrounds
    one = ~none & (chance[0] >= 1 - settings.one_share)
    new = none | ((chance[1] < settings.new_background_share) & has_backgrounds)
    pick = rng.integers(n_crops, size=(2, n))
    # Twice the same hand would be odd; the next one is as good.
    pick[1] += (pick[1] == pick[0]) & (n_crops > 1)
    two = ~none & ~one
    plan = Plan(
        two=torch.from_numpy(two),
        any=torch.from_numpy(~none),
        new=torch.from_numpy(new),
        match=torch.from_numpy(two & (chance[2] < settings.match_light_share)),
        base_front=torch.from_numpy(chance[3] < settings.front_share),
        base_side=torch.from_numpy((chance[4] < 0.5).astype(np.int64)),
    )
    return plan, pick % n_crops


def _uniform(rng: np.random.Generator, low: float, high: float, *shape: int) -> Tensor:
    return torch.from_numpy(rng.uniform(low, high, shape).astype(np.float32))


def lay_base(mask: Tensor, plan: Plan, rng: np.random.Generator, settings: PasteSettings) -> Tensor:
    """Draw the base's affine ``(B, 2, 3)``; on its own picture no mirrored hand may show."""
    n, size, draws = len(mask), settings.size_px, BASE_DRAWS
    step = 1 / (_uniform(rng, *settings.hand_share, n * draws) * size)
    turn_rad = torch.deg2rad(_uniform(rng, -settings.turn_deg[0], settings.turn_deg[0], n * draws))
    centre_px = (size - 1) / 2 + _uniform(rng, -0.1, 0.1, n * draws, 2) * size
    many = mask.repeat_interleave(draws, dim=0)
    step, turn_rad, centre_px = (x.to(mask.device) for x in (step, turn_rad, centre_px))
    drawn = lay_affine(many, step * mask_boxes(many)[1], turn_rad, centre_px)
    # As it was taken: whatever was drawn, this shows no border.
    whole = mask.shape[-1] / size
    plain = drawn.new_tensor([[whole, 0, (whole - 1) / 2], [0, whole, (whole - 1) / 2]])
    drawn = torch.cat([drawn.view(n, draws, 2, 3), plain.expand(n, 1, 2, 3)], dim=1)
    coarse = drawn.flatten(0, 1) * drawn.new_tensor([size / SEARCH_CELLS] * 2 + [1.0])
    thick = grow(mask, mask.shape[-1] // SEARCH_CELLS).repeat_interleave(draws + 1, dim=0)
    shown = soft_masks(thick, coarse, SEARCH_CELLS, outside="reflection") > 0
    true = soft_masks(thick, coarse, SEARCH_CELLS) > 0
    is_good = ~(shown & ~true).flatten(1).any(dim=1).view(n, draws + 1)
    is_good |= plan.new[:, None]
    is_good[:, -1] = True
    first = is_good.int().argmax(dim=1)
    return drawn[torch.arange(n, device=mask.device), first]


def lay_other(
    mask: Tensor,
    step: Tensor,
    base_moved: Tensor,
    plan: Plan,
    rng: np.random.Generator,
    settings: PasteSettings,
) -> Tensor:
    """Draw the other hand's affine ``(B, 2, 3)`` until the hidden share of the hand below fits.

    Args:
        mask: ``(B, R, R)`` of the other hand's crop.
        step: ``(B,)`` pixels of its crop for one of the picture that make both hands alike large.
        base_moved: ``(B, H, W)`` the base's hand in the picture.
        plan: What each picture is.
        rng: Draws the same numbers for every picture in every try.
        settings: What is wanted.

    Raises:
        SettingsError: Some pair does not fit after so many tries.
    """
    n, size, device = len(mask), settings.size_px, mask.device
    low, high = settings.overlap
    middle = torch.full((n, 2), (size - 1) / 2, device=device)
    affine = lay_affine(mask, step, 0 * step, middle)
    todo = plan.two
    for _ in range(settings.tries):
        if not bool(todo.any()):
            break
        ratio = _uniform(rng, *settings.size_ratio, n).to(device)
        turn = torch.deg2rad(_uniform(rng, -settings.turn_deg[1], settings.turn_deg[1], n))
        wanted = _uniform(rng, low, high, n).to(device)
        noise = torch.from_numpy(rng.random((n, 4 * SEARCH_CELLS**2), dtype=np.float32)).to(device)
        drawn = lay_affine(mask, step / ratio, turn.to(device), middle)
        centred = soft_masks(mask, drawn, size) >= 0.5
        shift_px = _find_shift(base_moved, centred, plan.base_front, wanted, noise, settings)
        drawn[..., 2] -= (drawn[..., :2] @ shift_px[..., None]).squeeze(-1)
        moved = soft_masks(mask, drawn, size) >= 0.5
        below = torch.where(plan.base_front[:, None, None], moved, base_moved)
        share = _area(moved & base_moved) / _area(below).clamp(min=1)
        affine = torch.where(todo[:, None, None], drawn, affine)
        todo = todo & ~((share >= low) & (share <= high) & moved.flatten(1).any(dim=1))
    if bool(todo.any()):
        raise SettingsError(
            f"overlap {low} to {high} was not reached in {settings.tries} tries; widen "
            "PasteSettings.overlap or allow more tries"
        )
    return affine


def _find_shift(
    base: Tensor,
    other: Tensor,
    base_front: Tensor,
    wanted: Tensor,
    noise: Tensor,
    settings: PasteSettings,
) -> Tensor:
    """Pick a shift ``(B, 2)`` of ``other`` in pixels that hides the wanted share, on a coarse grid.

    The overlap of all shifts at once is the correlation of the two masks.
    """
    n, cells = len(base), SEARCH_CELLS
    coarse = [functional.adaptive_avg_pool2d(m.float(), cells) for m in (base, other)]
    spectra = [torch.fft.rfft2(m, s=(2 * cells, 2 * cells)) for m in coarse]
    picture = torch.fft.rfft2(torch.ones_like(coarse[0]), s=(2 * cells, 2 * cells))
    overlap, inside = (
        torch.fft.irfft2(m * spectra[1].conj(), s=(2 * cells, 2 * cells)).flatten(1)
        for m in (spectra[0], picture)
    )
    below = torch.where(base_front[:, None], inside, _area(coarse[0])[:, None])
    share = overlap / below.clamp(min=1e-3)
    is_in = inside >= settings.least_inside * _area(coarse[1])[:, None]
    miss = torch.where(is_in, (share - wanted[:, None]).abs(), math.inf)
    is_near = miss <= miss.amin(dim=1, keepdim=True) + 0.02
    place = torch.where(is_near, noise, -1.0).argmax(dim=1)
    v, u = place // (2 * cells), place % (2 * cells)
    cell = torch.stack([u, v], dim=-1)
    cell = torch.where(cell >= cells, cell - 2 * cells, cell)
    return cell.to(torch.float32).view(n, 2) * (settings.size_px / cells)


def _area(mask: Tensor) -> Tensor:
    return mask.flatten(1).float().sum(dim=1)
