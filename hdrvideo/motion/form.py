"""What must be known of a refiner to make its net again; it lies in the weights' file beside them.

Tensors alone do not tell all: a net that fuses frames has the same ones as one that does not, and
none says how long the windows were that it was taught with.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Final

from hdrvideo.config import check_number
from hdrvideo.errors import SettingsError
from hdrvideo.motion.recurrent import GRU_WIDTHS, TCMR_WIDTHS, GruNet, TcmrNet
from hdrvideo.motion.refine import SIZES, RefineNet, WindowNet
from hdrvideo.motion.windows import WINDOW_FRAMES

KINDS: Final = ("deformer", "gru", "tcmr")
# Windows may be as long as this.
MOST_FRAMES: Final = 1000


@dataclass(frozen=True)
class RefineForm:
    """A refiner's form.

    Attributes:
        kind: ``deformer``, the refiner; ``gru`` or ``tcmr``, see :mod:`hdrvideo.motion.recurrent`.
        size: ``small`` or ``paper``.
        one_hand: Each hand by itself.
        no_fusion: Each frame by itself; of the refiner alone.
        frames: Frames of a window, as it was taught.
    """

    kind: str = KINDS[0]
    size: str = "small"
    one_hand: bool = False
    no_fusion: bool = False
    frames: int = WINDOW_FRAMES

    def __post_init__(self) -> None:
        is_known = self.kind in KINDS and self.size in tuple(SIZES)
        if not is_known or {type(self.one_hand), type(self.no_fusion)} != {bool}:
            net = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "frames"}
            raise SettingsError(
                f"net is {net}, expected kind: {' | '.join(KINDS)}, size: {' | '.join(SIZES)}, "
                "one_hand and no_fusion: true | false"
            )
        if self.no_fusion and self.kind != KINDS[0]:
            raise SettingsError(
                f"net.no_fusion is true and net.kind {self.kind}, which fuses no frames; leave it "
                f"out, or take kind: {KINDS[0]}"
            )
        check_number("frames", self.frames, 1, MOST_FRAMES, whole=True)

    @classmethod
    def read(cls, note: object) -> "RefineForm":
        """Read what a file of weights says.

        Raises:
            SettingsError: It is no form that is known here.
        """
        known = sorted(f.name for f in fields(cls))
        if not isinstance(note, dict) or set(note) - set(known):
            raise SettingsError(f"form is {note!r}, expected some of {', '.join(known)}")
        return cls(**note)

    def with_frames(self, frames: int) -> "RefineForm":
        """Give the same for windows of another length."""
        return replace(self, frames=frames)

    def make(self) -> WindowNet:
        """Make the net, untrained."""
        size: Any = SIZES[self.size]
        both_hands = not self.one_hand
        if self.kind == "gru":
            return GruNet(size, GRU_WIDTHS[self.size], both_hands=both_hands)
        if self.kind == "tcmr":
            return TcmrNet(size, TCMR_WIDTHS[self.size], both_hands=both_hands)
        return RefineNet(size, both_hands=both_hands, fusing=not self.no_fusion)
