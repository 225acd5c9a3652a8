"""Frames of scenes become pictures with all their truths.

The order: pose the bodies (:mod:`meshes`), find what each layer shows (:mod:`raster`,
:mod:`layers`), shade every surface point that any picture needs once (:mod:`surface`,
:mod:`light`), and compose the full and the bare pictures from these same colours, so they are
equal where a hand is visible. Then motion (:mod:`flow`) and numbers (:mod:`truths`).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, embedding_bag

from hdrvideo.errors import SettingsError
from hdrvideo.handmodel import HandModel
from hdrvideo.synth.assets import Assets
from hdrvideo.synth.backdrop import Backdrops, backdrop_moves
from hdrvideo.synth.effects import apply_effects
from hdrvideo.synth.flow import find_flow, no_flow
from hdrvideo.synth.layers import Layers, draw_layers, hand_masks
from hdrvideo.synth.light import LightMaker, shade, stack_lights
from hdrvideo.synth.meshes import Frame, Mesh, MeshMaker, list_frames, stack_bodies
from hdrvideo.synth.scene import Shot
from hdrvideo.synth.surface import Skins, prop_colour, prop_places
from hdrvideo.synth.truths import GapMeter, count_pixels, joint_truth, visible_joints

__all__ = ["Renderer", "hand_masks"]

MAX_SUPERSAMPLE = 8


class Renderer:
    """Renders frames of scenes; keeps what several calls need (skins, backgrounds)."""

    def __init__(
        self,
        assets: Assets,
        *,
        device: str | torch.device = "cpu",
        supersample: int = 1,
        flow: bool = True,
        model: HandModel | None = None,
    ) -> None:
        """Get ready.

        Args:
            assets: Skins and backgrounds of the scenes.
            device: Where to compute; the shot's tensors stay there.
            supersample: Samples a pixel along each axis. Colours are averaged, masks hold where
                at least half of the samples do, other truths are those of the sample next to the
                pixel's centre.
            flow: Compute motion, which needs the frames before and after too; else it is NaN,
                unless effects are asked for and a scene's blur needs it.
            model: The hand; None is the shipped one.

        Raises:
            SettingsError: ``supersample`` is out of range.
        """
        if not 1 <= supersample <= MAX_SUPERSAMPLE:
            raise SettingsError(f"supersample is {supersample}, expected 1 to {MAX_SUPERSAMPLE}")
        self._device, self._supersample, self._flow = torch.device(device), supersample, flow
        model = HandModel() if model is None else model
        self._skins = Skins(assets, model, self._device)
        self._backdrops = Backdrops(assets, self._device)
        self._lights = LightMaker(model, self._device)
        self._meshes = MeshMaker(model, self._device)
        self._gap = GapMeter(self._meshes.model)

    @torch.no_grad()
    def __call__(self, frames: Sequence[Frame], *, effects_seed: int | None = None) -> Shot:
        """Render frames, all of one picture size.

        Frames that follow one another in a scene share their neighbours, so ask for them together.

        Args:
            frames: Scenes and indices of their frames.
            effects_seed: Draws the noise of the scenes' effects; None leaves the effects out.

        Raises:
            ShapeError: No frame, a frame outside its scene, or pictures of different sizes.
        """
        blurred = effects_seed is not None and any(sc.effects.shutter > 0 for sc, _ in frames)
        with_flow = self._flow or blurred
        listed = list_frames(frames, neighbours=with_flow)
        n, s = listed.n_asked, self._supersample
        height, width = frames[0][0].height_px, frames[0][0].width_px
        mesh = self._meshes.make(stack_bodies(listed, self._device))
        layers = draw_layers(mesh, len(listed.frames), n, height, width, s)
        colours, normals = self._shaded(mesh, layers, frames)
        rgb, bare_rgb = self._composed(layers, colours, frames)
        visible, amodal = (_most(mask, s) for mask in (layers.visible, layers.whole))
        # Within a pixel the full and the bare picture can differ at the edge of what hides.
        bare_rgb = torch.where(visible[:, :, None], rgb[:, None], bare_rgb)
        flow = no_flow(n, height, width, self._device)
        if with_flow:
            moves = backdrop_moves(frames, self._device)
            flow = find_flow(mesh, layers, listed, moves, s)
        step = slice(s // 2, None, s)
        row = layers.full_row[:, step, step].clamp(max=len(layers.hits))
        nearest_mm = layers.nearest_mm[:n, step, step]
        code = mesh.code.index_select(0, layers.hits.face)
        face = torch.cat([code, code.new_full((1,), -1)])[row]
        xyz_mm, uv_px = joint_truth(mesh, n)
        present, hidden_share = count_pixels(visible, amodal)
        bodies = mesh.bodies
        shot = Shot(
            rgb=rgb,
            bare_rgb=bare_rgb,
            visible=visible,
            amodal=amodal,
            depth_mm=nearest_mm.contiguous(),
            normal=_rows(normals, row),
            face=face,
            flow_px=flow.flow_px,
            flow_seen=flow.flow_seen,
            hand_flow_px=flow.hand_flow_px,
            uv_px=uv_px,
            xyz_cam_mm=xyz_mm,
            pose=_numbers(frames, "pose", self._device),
            shape=torch.from_numpy(np.stack([sc.shape for sc, _ in frames])).to(self._device),
            present=present,
            joint_visible=visible_joints(layers, mesh, xyz_mm, uv_px, height, width),
            hidden_share=hidden_share,
            gap_mm=self._gap.measure(mesh, n),
            k_px=bodies.k_px[:n],
        )
        if effects_seed is None:
            return shot
        return apply_effects(shot, [scene.effects for scene, _ in frames], effects_seed)

    def _shaded(self, mesh: Mesh, layers: Layers, frames: Sequence[Frame]) -> tuple[Tensor, Tensor]:
        """Give displayed colours ``(M, 3)`` and normals ``(M + 1, 3)`` (the last zero)."""
        lights = stack_lights(frames, self._device)
        shown = layers.body.bincount(minlength=len(mesh.bodies.frame)) > 0
        light = self._lights.vertex_light(mesh, lights, shown)
        people, person = self._skins.table([scene.person for scene, _ in frames])
        at_vertex = torch.cat([light, mesh.vertices_mm], dim=1)
        places = prop_places(mesh.bodies)
        n_hands, n_hand = mesh.hands_mm.shape[:2]
        hits, device = layers.hits, self._device
        spans = 1 / (mesh.bodies.k_px[:, 0, 0] * self._supersample)
        colours = torch.empty(len(hits), 3, device=device)
        normals = torch.zeros(len(hits) + 1, 3, device=device)
        for part, frame, is_hand in layers.pieces():
            face, bary = hits.face[part], hits.bary[part]
            corners = mesh.faces.index_select(0, face)
            depth_mm = hits.depth_mm[part]
            mm_per_px = depth_mm * spans.index_select(0, frame)
            if is_hand:
                code = mesh.code.index_select(0, face)
                look = self._skins.look_up(people, person[frame], code, bary, mm_per_px)
            else:
                at = corners - n_hands * n_hand
                place = embedding_bag(at, places, mode="sum", per_sample_weights=bary).T
                row = layers.body[part] - n_hands
                look = prop_colour(
                    mesh.bodies, row, place.contiguous(), mesh.is_end(face), mm_per_px
                )
            values = embedding_bag(corners, at_vertex, mode="sum", per_sample_weights=bary)
            values = values.T.contiguous()
            normal, view = _unit(values[:3]), _unit(-values[-3:])
            colours[part] = shade(
                normal, view, look[:3], look[3], is_hand, values[3:-3], lights, frame
            ).T
            normals[part] = normal.T
        return colours, normals

    def _composed(
        self, layers: Layers, colours: Tensor, frames: Sequence[Frame]
    ) -> tuple[Tensor, Tensor]:
        """Give the full ``(A, 3, H, W)`` and the bare pictures ``(A, 2, 3, H, W)``."""
        h, w = layers.row.shape[2:]
        s = self._supersample
        v, u = torch.meshgrid(
            torch.arange(h, device=self._device),
            torch.arange(w, device=self._device),
            indexing="ij",
        )
        samples = (torch.stack([u, v], dim=-1).view(-1, 2) + 0.5) / s - 0.5
        behind = self._backdrops.colours(frames, samples, s)
        table = torch.cat([colours, behind.view(-1, 3)])
        pictures = [layers.full_row, layers.bare_row(0), layers.bare_row(1)]
        full, right, left = (_pooled(_rows(table, row), s) for row in pictures)
        return full, torch.stack([right, left], dim=1)


def _rows(table: Tensor, row: Tensor) -> Tensor:
    """Fill pictures ``(A, C, h, w)`` with the lines of ``(R, C)`` that ``(A, h, w)`` names."""
    filled = table.index_select(0, row.flatten()).view(*row.shape, -1)
    return filled.permute(0, 3, 1, 2).contiguous()


def _unit(vectors: Tensor) -> Tensor:
    return vectors * (vectors * vectors).sum(dim=0).clamp(min=1e-12).rsqrt()


def _pooled(picture: Tensor, s: int) -> Tensor:
    return picture if s == 1 else avg_pool2d(picture, s)


def _most(mask: Tensor, s: int) -> Tensor:
    """Say which pixels have at least half of their samples in a mask."""
    return mask if s == 1 else avg_pool2d(mask.float(), s) >= 0.5


def _numbers(frames: Sequence[Frame], name: str, device: torch.device) -> Tensor:
    return torch.from_numpy(np.stack([getattr(scene, name)[t] for scene, t in frames])).to(device)
