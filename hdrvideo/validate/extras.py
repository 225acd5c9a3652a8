"""What may lie beside a clip's track, masks and painted hands, and the scores that it adds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from hdrvideo.errors import SettingsError, TrackError
from hdrvideo.handmodel import HandModel
from hdrvideo.output.masks import MASKS_FILE
from hdrvideo.validate.averages import ClipSums, clip_sums
from hdrvideo.validate.bare import load_painted
from hdrvideo.validate.mask_protocols import MASK_METRICS, compare_masks
from hdrvideo.validate.mask_track import load_masks
from hdrvideo.validate.painting_protocols import (
    PAINTING_METRICS,
    PERCEPTUAL_METRICS,
    PaintingComparison,
    compare_painting,
)
from hdrvideo.validate.perceptual import SqueezeNetDistance
from hdrvideo.validate.protocols import METRICS, Metric
from hdrvideo.validate.truth import ClipTruth

PAINTED_FILE: Final = "bare.npz"
# Whatever a report may have, in its order.
ALL_METRICS: Final[tuple[Metric[Any], ...]] = (
    *METRICS, *MASK_METRICS, *PAINTING_METRICS, *PERCEPTUAL_METRICS,
)  # fmt: skip


class Extras:
    """The optional scores of a set of tracks: those whose files lie beside every track.

    Args:
        folders: The clips' folders of tracks.
        perceptual_weights: Of :class:`hdrvideo.validate.perceptual.SqueezeNetDistance`; None = its
            distance is left out.

    Raises:
        SettingsError: Weights are given, but there are no painted hands.
        TrackError: A file lies beside some tracks and not beside all.
        WeightsError: The weights cannot be used.
    """

    def __init__(
        self, folders: Sequence[Path], perceptual_weights: Path | str | None = None
    ) -> None:
        self._has_masks = _has_all(folders, MASKS_FILE)
        self._model = HandModel() if _has_all(folders, PAINTED_FILE) else None
        self._distance: SqueezeNetDistance | None = None
        if perceptual_weights is not None:
            if self._model is None:
                raise SettingsError(
                    f"perceptual_weights is {perceptual_weights}, but no track has a "
                    f"{PAINTED_FILE} to judge; leave it out"
                )
            self._distance = SqueezeNetDistance(perceptual_weights)

    @property
    def painting_metrics(self) -> tuple[Metric[PaintingComparison], ...]:
        """Metrics of painted hands."""
        if self._model is None:
            return ()
        return PAINTING_METRICS + (() if self._distance is None else PERCEPTUAL_METRICS)

    @property
    def metrics(self) -> tuple[Metric[Any], ...]:
        """Metrics in the order of :meth:`sums`."""
        return (*(MASK_METRICS if self._has_masks else ()), *self.painting_metrics)

    def sums(self, truth: ClipTruth, folder: Path) -> list[ClipSums]:
        """Score what lies beside a clip's track.

        Raises:
            DataError: The truth's masks or pictures are missing or damaged.
            TrackError: A file is damaged or does not fit the clip.
        """
        sums: list[ClipSums] = []
        if self._has_masks:
            masks = load_masks(
                folder / MASKS_FILE,
                n_frames=len(truth),
                height_px=truth.height_px,
                width_px=truth.width_px,
            )
            sums.append(clip_sums(compare_masks(truth, masks), MASK_METRICS))
        if self._model is not None:
            painted = load_painted(folder / PAINTED_FILE, len(truth))
            compared = compare_painting(truth, painted, self._model, self._distance)
            sums.append(clip_sums(compared, self.painting_metrics))
        return sums


def _has_all(folders: Sequence[Path], name: str) -> bool:
    lacking = [folder for folder in folders if not (folder / name).is_file()]
    if lacking and len(lacking) < len(folders):
        raise TrackError(
            f"{lacking[0]} has no {name}, but {len(folders) - len(lacking)} of {len(folders)} "
            "clips have one; give it for every clip or for none"
        )
    return not lacking
