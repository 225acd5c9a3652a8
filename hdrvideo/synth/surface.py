"""Colour and roughness of surfaces: baked skins on hands, patterns on props."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, embedding_bag

from hdrvideo.handmodel import HandModel
from hdrvideo.synth.assets import Assets
from hdrvideo.synth.atlas import baked_uv
from hdrvideo.synth.meshes import Bodies
from hdrvideo.synth.props import PROP_UV
from hdrvideo.synth.scene import N_PROP_VERTICES, PATTERNS, PROP_RINGS, PROP_SECTORS, Person
from hdrvideo.synth.skin import bake_skin

SKIN_PX: Final = 384
_LEVELS: Final = 4
_KEPT_SKINS: Final = 24
_TURN: Final = 2 * torch.pi
# Sizes of patterns in mm.
_WEAVE_MM, _STRIPE_MM, _CHECK_MM, _PRINT_MM = 2.4, 22.0, 18.0, 44.0
_WOOD_MM: Final = (3.1, 11.0)


class Skins:
    """Baked textures of people, each with smaller copies for when it is seen small."""

    def __init__(self, assets: Assets, model: HandModel, device: torch.device) -> None:
        self._assets, self._device = assets, device
        self._baked: OrderedDict[tuple[object, ...], Tensor] = OrderedDict()
        self._stacked: tuple[tuple[tuple[object, ...], ...], Tensor] | None = None
        places = torch.stack([baked_uv(model.uv)[model.triangles(side)[1]] for side in (0, 1)])
        # (corner, xy) by face of the right hand, then of the left.
        self._corner_uv = places.flatten(0, 1).permute(1, 2, 0).contiguous().to(device)
        density = torch.stack([_texels_per_mm(model, side) for side in (0, 1)]).flatten()
        self._log_density = density.log2().to(device)
        sizes = [SKIN_PX >> level for level in range(_LEVELS)]
        self._size = torch.tensor(sizes, device=device, dtype=torch.float32)
        first = [sum(s * s for s in sizes[:level]) for level in range(_LEVELS)]
        self._first = torch.tensor(first, device=device)
        self._rows_per_side = sum(s * s for s in sizes)

    def table(self, people: Sequence[Person]) -> tuple[Tensor, Tensor]:
        """Give the texels of these people, baked when they are new.

        Returns:
            ``(R, 4)`` texels of all, and ``(len(people),)`` int64 each one's place among them.
        """
        keys = [_key(person) for person in people]
        unique = tuple(dict.fromkeys(keys))
        if self._stacked is None or self._stacked[0] != unique:
            for key, person in zip(keys, people, strict=True):
                if key not in self._baked:
                    self._baked[key] = self._bake(person)
                self._baked.move_to_end(key)
            self._stacked = (unique, torch.cat([self._baked[key] for key in unique]))
            while len(self._baked) > _KEPT_SKINS:
                self._baked.popitem(last=False)
        place = torch.tensor([unique.index(key) for key in keys], device=self._device)
        return self._stacked[1], place

    def _bake(self, person: Person) -> Tensor:
        level = bake_skin(person, self._assets, SKIN_PX).to(self._device)
        levels = []
        for _ in range(_LEVELS):
            levels.append(level.permute(0, 2, 3, 1).flatten(1, 2))
            level = avg_pool2d(level, 2)
        return torch.cat(levels, dim=1).flatten(0, 1)

    def look_up(
        self, table: Tensor, person: Tensor, code: Tensor, bary: Tensor, mm_per_px: Tensor
    ) -> Tensor:
        """Give colour and roughness ``(4, M)`` at points of hands.

        Args:
            table: From :meth:`table`.
            person: ``(M,)`` place of the person in it.
            code: ``(M,)`` side * F + triangle of the hand.
            bary: ``(M, 3)``.
            mm_per_px: ``(M,)`` what a pixel spans there.
        """
        corners = self._corner_uv.flatten(0, 1).index_select(1, code).view(3, 2, -1)
        uv = (corners * bary.T[:, None]).sum(dim=0)
        level = self._log_density.index_select(0, code) + mm_per_px.log2()
        level = level.clamp(0, _LEVELS - 1.001)
        low = level.floor()
        up = level - low
        side = torch.div(code, len(self._log_density) // 2, rounding_mode="floor")
        base = (2 * person + side) * self._rows_per_side
        index, weights = [], []
        for step, share in ((0, 1 - up), (1, up)):
            at = low.long() + step
            size = self._size.index_select(0, at)
            first = base + self._first.index_select(0, at)
            x, y = (uv * size - 0.5).clamp(min=0).unbind(0)
            x, y = torch.minimum(x, size - 1.001), torch.minimum(y, size - 1.001)
            x0, y0 = x.floor(), y.floor()
            fx, fy = x - x0, y - y0
            corner = first + (y0 * size + x0).long()
            width = size.long()
            index += [corner, corner + 1, corner + width, corner + width + 1]
            right, below = fx * share, fy
            left = share - right
            weights += [left * (1 - below), right * (1 - below), left * below, right * below]
        rows = embedding_bag(
            torch.stack(index, dim=1), table, mode="sum",
            per_sample_weights=torch.stack(weights, dim=1),
        )  # fmt: skip
        return rows.T.contiguous()


def _key(person: Person) -> tuple[object, ...]:
    values = (getattr(person, name) for name in person.__dataclass_fields__)
    return tuple(v.tobytes() if hasattr(v, "tobytes") else v for v in values)


def _texels_per_mm(model: HandModel, side: int) -> Tensor:
    """Give the mean density on the hand, and on the forearm, to each triangle ``(F,)``."""
    faces, uv_faces = model.triangles(side)
    xyz, uv = model.template_mm[faces], baked_uv(model.uv)[uv_faces] * SKIN_PX
    area_mm = torch.linalg.cross(xyz[:, 1] - xyz[:, 0], xyz[:, 2] - xyz[:, 0]).norm(dim=1)
    (ax, ay), (bx, by) = ((uv[:, k] - uv[:, 0]).unbind(1) for k in (1, 2))
    area_px = (ax * by - ay * bx).abs()
    arm = model.uv[uv_faces[:, 0], 1] > 0.5
    density = torch.empty_like(area_mm)
    for part in (arm, ~arm):
        density[part] = (area_px[part].sum() / area_mm[part].sum().clamp(min=1e-6)).sqrt()
    return density.clamp(min=1e-3)


def prop_places(bodies: Bodies) -> Tensor:
    """Give ``(Kp * 208, 5)``: mm round the prop, mm along it, and its own x, y, z.

    Going round leads to the far side and back, so that patterns have no seam.
    """
    local = bodies.local_mm
    n = len(local)
    rings = local.view(n, PROP_RINGS, PROP_SECTORS, 3)
    round_mm = (rings - rings.roll(1, dims=2)).norm(dim=-1).sum(dim=2).amax(dim=1) / 2
    middles = rings.mean(dim=2)
    along_mm = (middles[:, 1:] - middles[:, :-1]).norm(dim=-1).sum(dim=1)
    uv = torch.from_numpy(PROP_UV).to(local.device)
    scaled = uv * torch.stack([round_mm, along_mm], dim=1)[:, None]
    return torch.cat([scaled, local], dim=-1).view(n * N_PROP_VERTICES, 5)


def prop_colour(
    bodies: Bodies, row: Tensor, place: Tensor, is_end: Tensor, mm_per_px: Tensor
) -> Tensor:
    """Give colour and roughness ``(4, M)`` at points of props.

    Args:
        bodies: The props.
        row: ``(M,)`` which of them.
        place: ``(5, M)`` as :func:`prop_places`.
        is_end: ``(M,)`` bool, on the first or the last fan of triangles.
        mm_per_px: ``(M,)`` what a pixel spans there; finer patterns fade.
    """
    around, along, x, y, z = place.unbind(0)
    # A flat end is no tube: there a pattern lies on its plane.
    around, along = torch.where(is_end, x, around), torch.where(is_end, z, along)
    pattern = bodies.pattern.index_select(0, row)
    colours = bodies.prop_rgb.flatten(1).T.contiguous().index_select(1, row)
    first, second = colours[:3], colours[3:]
    share, second = _patterns(pattern, (around, along, x, y, z), (first, second), mm_per_px)
    fold = torch.sin(x / 29 + 1.7 * torch.sin(y / 37)) * torch.sin(z / 33 + y / 41 + 1)
    soft = (pattern >= PATTERNS.index("cloth")) & (pattern <= PATTERNS.index("checks"))
    colour = (first + share * (second - first)) * (1 + 0.07 * fold * soft)
    roughness = bodies.roughness.index_select(0, row)
    return torch.cat([colour.clamp(0.02, 0.98), roughness[None]])


def _patterns(
    pattern: Tensor,
    place: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    colours: tuple[Tensor, Tensor],
    mm_per_px: Tensor,
) -> tuple[Tensor, Tensor]:
    """Give how much of the second colour each point shows ``(M,)``, and that colour ``(3, M)``."""
    around, along, x, y, z = place
    share, second = torch.zeros_like(around), colours[1]
    for number in pattern.bincount().nonzero().flatten().tolist():
        name = PATTERNS[number]
        if name == "cloth":
            weave = torch.sin(around * (_TURN / _WEAVE_MM)) * torch.sin(along * (_TURN / _WEAVE_MM))
            value = (0.17 + 0.17 * weave) * _fade(_WEAVE_MM, 1.5 * mm_per_px)
        elif name == "stripes":
            value = _bands(along, _STRIPE_MM, mm_per_px)
        elif name == "checks":
            across, down = (_bands(mm, _CHECK_MM, mm_per_px) for mm in (around, along))
            value = across + down - 2 * across * down
        elif name == "wood":
            # Boards: lines along x and y, bent a little, close and wide in turn.
            grain = z + 0.12 * x + 7 * torch.sin(x / 150 + y / 110) + 1.5 * torch.sin(x / 31)
            fine, broad = (
                torch.sin(grain * (_TURN / mm)) * _fade(mm, mm_per_px) for mm in _WOOD_MM
            )
            value = (0.4 + 0.15 * fine + 0.35 * broad * torch.sin(grain / 23)).clamp(0, 1)
        elif name == "print":
            value, ink = _print(around, along, colours[0], mm_per_px)
            second = torch.where(pattern == number, ink, second)
        else:
            continue
        share = torch.where(pattern == number, value, share)
    return share, second


def _fade(period_mm: float, mm_per_px: Tensor) -> Tensor:
    """Give 1 where a pattern of this period is resolved, 0 where pixels are too coarse for it."""
    return (period_mm / (2.0 * mm_per_px) - 1).clamp(0, 1)


def _bands(value_mm: Tensor, period_mm: float, mm_per_px: Tensor) -> Tensor:
    """Give 0 and 1 in turn, with edges one pixel soft."""
    phase = value_mm / period_mm
    inside_mm = ((phase - phase.floor()) - 0.5).abs() * period_mm - 0.25 * period_mm
    return (0.5 + inside_mm / mm_per_px).clamp(0, 1)


def _print(
    around: Tensor, along: Tensor, first: Tensor, mm_per_px: Tensor
) -> tuple[Tensor, Tensor]:
    """Give how much of a rectangle's ink ``(M,)`` is there, and its colour ``(3, M)``."""
    cells = [torch.div(value, _PRINT_MM, rounding_mode="floor") for value in (around, along)]
    seed = (first * 997).long().sum(dim=0)
    mixed = seed * 7919 + cells[0].long() * 73_856_093 + cells[1].long() * 19_349_663
    draws = []
    for _ in range(7):
        mixed = (mixed * 1_103_515_245 + 12_345) & 0x7FFFFFFF
        draws.append((mixed >> 8).to(first.dtype) / (0x7FFFFFFF >> 8))
    edge = torch.full_like(around, torch.inf)
    for value, cell, middle, half in zip(
        (around, along), cells, draws[:2], draws[2:4], strict=True
    ):
        centre = (cell + 0.35 + 0.3 * middle) * _PRINT_MM
        edge = torch.minimum(edge, (0.1 + 0.22 * half) * _PRINT_MM - (value - centre).abs())
    share = (0.5 + edge / mm_per_px).clamp(0, 1) * _fade(_PRINT_MM / 2, mm_per_px)
    return share, torch.stack(draws[4:])
