"""What nets that read one hand's crops learn from."""

from collections.abc import Mapping
from dataclasses import dataclass

from hdrvideo.config import check_folder_or_none, check_folders, check_number
from hdrvideo.errors import SettingsError
from hdrvideo.train.set_hands import check_sets


@dataclass(frozen=True)
class ShpeData:
    """What SHPE learns from.

    Attributes:
        made: Folders of shards of the made world, split train.
        held_out: Folders of shards of split test, for the checks.
        crops: Folder of harvested hands, for pastes; None = no pastes.
        hand_free: Folders of pictures without hands, to lay pasted hands over.
        pasted_share: Part of a batch that is pasted real hands, taught in the picture alone.
        sets: Folders of the field's data sets by name (``docs/datasets.md``); their training split
            is learnt from. None = none.
        sets_share: Part of a batch that is of them.
        sets_part: Part of InterHand2.6M: ``all``, ``human`` or ``machine``.
        sets_only_there: Leave out samples that lack a file; else a set must be whole.
        bare_share: Part of a batch that shows a hand alone, as HDRM is to paint it; the rest is as
            it is in the picture.
        least_size_px: Hands that span less of a made picture are left out.
        n_check: Held-out hands that a check looks at, each bare and as it is.
    """

    made: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    crops: str | None = None
    hand_free: tuple[str, ...] = ()
    pasted_share: float = 0.0
    sets: Mapping[str, str] | None = None
    sets_share: float = 0.0
    sets_part: str = "all"
    sets_only_there: bool = False
    bare_share: float = 0.5
    least_size_px: float = 24.0
    n_check: int = 256

    def __post_init__(self) -> None:
        for name in ("made", "held_out", "hand_free"):
            check_folders(f"ShpeData.{name}", getattr(self, name))
            if not getattr(self, name) and name != "hand_free":
                raise SettingsError(f"ShpeData.{name} is empty; name a folder of shards")
        check_folder_or_none("ShpeData.crops", self.crops)
        check_number("ShpeData.pasted_share", self.pasted_share, 0, 0.9)
        if self.pasted_share and self.crops is None:
            raise SettingsError(
                f"pasted_share is {self.pasted_share} and ShpeData.crops is not given; name a "
                "folder of harvested hands, or set the share to 0"
            )
        check_sets("ShpeData.sets", self.sets)
        check_number("ShpeData.sets_share", self.sets_share, 0, 0.9 - self.pasted_share)
        if bool(self.sets) != bool(self.sets_share):
            raise SettingsError(
                f"sets_share is {self.sets_share} and ShpeData.sets is {self.sets!r}; give both or "
                "none"
            )
        if not isinstance(self.sets_only_there, bool):
            raise SettingsError(
                f"ShpeData.sets_only_there is {self.sets_only_there!r}, expected true or false"
            )
        check_number("ShpeData.bare_share", self.bare_share, 0, 1)
        check_number("ShpeData.least_size_px", self.least_size_px, 1, 100_000)
        check_number("ShpeData.n_check", self.n_check, 1, 1_000_000, whole=True)
