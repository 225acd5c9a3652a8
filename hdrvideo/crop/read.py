"""Read hands from their crops: as they are, or bare, that is painted whole and alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import cv2
import numpy as np

from hdrvideo.crop.bare import MaskedHand
from hdrvideo.crop.sighting import HandView, Sighting, Track, TrackedFrame
from hdrvideo.crop.take import OwnAndOther, Pyramid, take_crop, take_hands
from hdrvideo.datatypes import F32, U8, Bool, HandCrops, HandPoses, KeptCrop
from hdrvideo.geometry import F64, CropSquare, square_from_pose

# Crops wait for seconds until their side is known, and a minute has thousands: a JPEG of this
# quality, with full colour, is a fifth of a PNG and some two grey levels off.
_JPEG_OPTIONS: Final = [
    cv2.IMWRITE_JPEG_QUALITY,
    95,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
]

Read = Callable[[HandCrops], HandPoses]
# A hand that moved by more of its crop's side from frame to frame is remembered no more.
_JUMP: Final = 0.5


class Paint(Protocol):
    """Paints crops; see :meth:`hdrvideo.frame.stage.FrameStage.paint`."""

    def __call__(
        self, crops: HandCrops, before: Sequence[Any], /
    ) -> tuple[HandCrops, Bool, list[Any]]:
        """Give bare crops, ``(B,)`` which of them were painted, and what to remember of each."""


@dataclass(frozen=True)
class _Past:
    """A hand as it was in a frame.

    Attributes:
        index: Of the frame.
        pyramid: The frame.
        hand: The hand.
        kept: What the painter remembers of it; None = it was not painted.
    """

    index: int
    pyramid: Pyramid
    hand: MaskedHand
    kept: Any


class HandReader:
    """Cuts hands out of frames and has them read."""

    def __init__(
        self,
        read: Read,
        *,
        resolution_px: int,
        paint: Paint | None = None,
        remember: bool = False,
        keep_crops: bool = False,
        keep_views: bool = False,
    ) -> None:
        """Take what reads crops of a side, and what paints them.

        Args:
            read: Reads crops.
            resolution_px: Their side in their own pixels.
            paint: Makes hands bare; None = no hand is painted.
            remember: Paint with what is remembered of a hand's frames before.
            keep_crops: Keep pictures of the hands.
            keep_views: Keep beside them what they may be painted from anew; only where there is
                something to remember.
        """
        self.keeps_crops = keep_crops
        self._keeps_views = keep_crops and keep_views and remember
        self.can_paint = paint is not None
        self._read = read
        self._paint = paint
        self._resolution_px = resolution_px
        self._remembers = remember
        self._painted: dict[int, KeptCrop] = {}
        self._pasts: dict[int, _Past] = {}
        self._views: dict[int, HandView] = {}

    def __call__(
        self, pyramid: Pyramid, squares: list[CropSquare], births: Sequence[int]
    ) -> list[Sighting]:
        """Read what squares of a frame show, in one batch.

        Args:
            pyramid: The frame.
            squares: Where to look.
            births: One a square; see :class:`~hdrvideo.crop.sighting.Sighting`.
        """
        if not squares:
            return []
        return _sightings(self._read(take_hands(pyramid, squares, self._resolution_px)), births)

    def bare(
        self, pyramid: Pyramid, hands: dict[int, MaskedHand], index: int
    ) -> dict[int, Sighting]:
        """Paint hands and read them anew, in one batch.

        Args:
            pyramid: The frame.
            hands: By track.
            index: Of the frame.

        Returns:
            What was read, by track. A hand that has nothing to paint is not among them and is
            not read again.
        """
        if self._keeps_views:
            self._views = {i: self._view(pyramid, i, hand, index) for i, hand in hands.items()}
        may = [i for i, hand in hands.items() if hand.may_need_painting()]
        if self._paint is None or not may:
            self._keep_pasts(pyramid, hands, index, {})
            return {}
        masks: list[OwnAndOther] = [hands[i].masks for i in may]
        squares = [hands[i].square for i in may]
        crops = take_hands(pyramid, squares, self._resolution_px, masks)
        before = [self._before(i, hands[i], index) for i in may]
        crops, is_painted, kept = self._paint(crops, before)
        self._keep_pasts(pyramid, hands, index, dict(zip(may, kept, strict=True)))
        painted = [i for i, is_done in zip(may, is_painted, strict=True) if is_done]
        if not painted:
            return {}
        bare = crops.only(is_painted)
        if self.keeps_crops:
            for k, i in enumerate(painted):
                self._painted[i] = painted_crop(bare.rgb[k].numpy(), bare.frame_from_crop[k])
        read = _sightings(self._read(bare), [hands[i].sighting.birth for i in painted])
        return dict(zip(painted, read, strict=True))

    def forget(self) -> None:
        """Remember no hand any more: tracks were exchanged."""
        self._pasts = {}

    def _keep_pasts(
        self, pyramid: Pyramid, hands: dict[int, MaskedHand], index: int, kept: dict[int, Any]
    ) -> None:
        if self._remembers:
            pasts = {i: _Past(index, pyramid, hand, kept.get(i)) for i, hand in hands.items()}
            self._pasts = pasts

    def _before(self, i: int, hand: MaskedHand, index: int) -> Any:
        """Give what a painter is to know of a hand's frame before; None = it was not there.

        A hand that was not painted there was seen there: its crop says all, and is only cut out now
        that it is needed.
        """
        past = self._past(i, hand, index)
        if past is None:
            return None
        if past.kept is not None:
            return past.kept
        square, masks = past.hand.square, past.hand.masks
        return take_hands(past.pyramid, [square], self._resolution_px, [masks])

    def _past(self, i: int, hand: MaskedHand, index: int) -> _Past | None:
        past = self._pasts.get(i)
        if past is None or past.index != index - 1 or not _is_same(past.hand, hand):
            return None
        return past

    def _view(self, pyramid: Pyramid, i: int, hand: MaskedHand, index: int) -> HandView:
        square = hand.square
        rgb_u8 = take_crop(pyramid, square, self._resolution_px, replicate=True)
        goes_on = self._past(i, hand, index) is not None
        return HandView(rgb_u8, square, hand.masks, goes_on)

    def leave_pictures(
        self, row: TrackedFrame, tracks: Sequence[Track | None], pyramid: Pyramid
    ) -> None:
        """Leave each hand's picture in its row; tracks do without, theirs would be of a past frame.

        A hand that was painted is shown so, also where its first reading stayed.
        """
        for i, (sighting, track) in enumerate(zip(row.sightings, tracks, strict=True)):
            if sighting is not None and track is not None:
                crop = self._painted.get(i)
                if crop is None:
                    crop = self.picture(pyramid, sighting, mirror=track.mirror)
                row.sightings[i] = replace(sighting, crop=crop, view=self._views.get(i))
        self._painted, self._views = {}, {}

    def picture(self, pyramid: Pyramid, sighting: Sighting, *, mirror: bool) -> KeptCrop:
        """Give the picture of a hand as it is, in the square round its pose."""
        square = square_from_pose(sighting.uv_px, mirror=mirror)
        rgb_u8 = take_crop(pyramid, square, self._resolution_px, replicate=True)
        return _kept(rgb_u8, square.frame_from_crop(self._resolution_px), painted=False)


def _is_same(before: MaskedHand, now: MaskedHand) -> bool:
    """Say whether a track's hand is the one of the frame before, seen the same way round."""
    step_px = np.linalg.norm(now.sighting.uv_px - before.sighting.uv_px, axis=1).mean()
    return (
        before.sighting.birth == now.sighting.birth
        and before.mirror == now.mirror
        and bool(step_px < _JUMP * max(before.sighting.size_px, now.sighting.size_px))
    )


def _sightings(poses: HandPoses, births: Sequence[int]) -> list[Sighting]:
    return [
        Sighting(
            uv_px=poses.uv_px[i],
            xyz_mm=poses.xyz_mm[i],
            confidence=poses.confidence[i],
            presence=float(poses.presence[i]),
            right_score=float(poses.right_score[i]),
            birth=birth,
            refine_px=poses.refine_px[i],
        )
        for i, birth in enumerate(births)
    ]


def painted_crop(rgb: F32, frame_from_crop: F64) -> KeptCrop:
    """Give the picture of a hand that was painted, from ``(3, R, R)`` of 0..1."""
    rgb_u8 = (np.moveaxis(rgb, 0, -1) * 255 + 0.5).astype(np.uint8)
    return _kept(rgb_u8, frame_from_crop, painted=True)


def _kept(rgb_u8: U8, frame_from_crop: F64, *, painted: bool) -> KeptCrop:
    bgr_u8: Any = cv2.cvtColor(rgb_u8, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr_u8, _JPEG_OPTIONS)
    return KeptCrop(frame_from_crop, jpeg.tobytes(), painted)
