"""Settings: frozen, checked when made, unknown keys refused, written into every result."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from hdrvideo.errors import SettingsError


def check_number(name: str, value: object, low: float, high: float, *, whole: bool = False) -> None:
    """Refuse a setting that is no number in its range.

    Raises:
        SettingsError: With the name, what was given and the range.
    """
    kind = "a whole number" if whole else "a number"
    is_number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:  # type: ignore[operator]
        raise SettingsError(f"{name} is {value!r}, expected {kind} from {low} to {high}")


def check_folders(name: str, value: object) -> None:
    """Refuse a setting that is no list of folders.

    Raises:
        SettingsError: With the name and what was given.
    """
    if not isinstance(value, tuple) or not all(isinstance(v, str) for v in value):
        raise SettingsError(f"{name} is {value!r}, expected a list of folders")


def check_folder_or_none(name: str, value: object) -> None:
    """Refuse a setting that is neither a folder nor null.

    Raises:
        SettingsError: With the name and what was given.
    """
    if not isinstance(value, str | None):
        raise SettingsError(f"{name} is {value!r}, expected a folder or null")


def _check_range(owner: Any, name: str, low: float, high: float) -> None:
    whole = name.endswith("_frames")
    check_number(f"{type(owner).__name__}.{name}", getattr(owner, name), low, high, whole=whole)


def _check_switch(owner: Any, name: str) -> None:
    value = getattr(owner, name)
    if not isinstance(value, bool):
        raise SettingsError(f"{type(owner).__name__}.{name} is {value!r}, expected true or false")


def _check_word(owner: Any, name: str, words: tuple[str, ...]) -> None:
    value = getattr(owner, name)
    if value not in words:
        *first, last = (repr(word) for word in words)
        expected = f"{', '.join(first)} or {last}"
        raise SettingsError(f"{type(owner).__name__}.{name} is {value!r}, expected {expected}")


# Longest delay of `live_settings`; a longer one brings nothing.
MAX_DELAY_FRAMES: Final = 240
# What the settings that are words may be.
_WORDS: Final = {
    "hasm": ("small", "off"),
    "hdrm": ("auto", "small", "off"),
    "memory": ("on", "off"),
    "shpe": ("landmark", "small"),
    "shpe_2d": ("landmark", "own", "mean"),
    "shpe_3d": ("landmark", "own"),
    "engine": ("auto", "torch", "openvino"),
    "refine": ("small", "off"),
}


@dataclass(frozen=True)
class FindSettings:
    """Finding hands in a whole frame.

    Attributes:
        min_score: Palms below this score are ignored, 0..1.
    """

    min_score: float = 0.5

    def __post_init__(self) -> None:
        _check_range(self, "min_score", 0, 1)


@dataclass(frozen=True)
class FollowSettings:
    """Following hands from frame to frame.

    Attributes:
        min_presence: A followed hand below this presence is missing in the frame.
        birth_presence: A new hand must reach this presence.
        backward_presence: A hand followed backwards must keep this presence.
        doubtful_presence: Below it the detector looks too.
        mask_presence: A hand that only its mask shows must reach this presence.
        mask_certainty: A mask overrules a pose, or stands for one, only if its pixels are so sure
            on average.
        carry_seconds: How long a hand that cannot be read is followed by its mask alone.
        twin_iou: Two whole masks that overlap more are one hand; a new hand of which a larger
            part lies in the other is none.
        double_distance: Two hands whose joints are nearer than this, in crop sides, are one.
        replace_margin: A found hand takes the place of a followed one if so much more present.
        search_frames: Frames between searches while one hand is missing or doubtful.
        recheck_frames: Frames between searches while both hands are sure.
        backward_frames: How many frames a new hand is followed backwards at most.
        hold_seconds: How long a lost hand is looked for where it was.
    """

    min_presence: float = 0.5
    birth_presence: float = 0.5
    backward_presence: float = 0.5
    doubtful_presence: float = 0.8
    mask_presence: float = 0.7
    mask_certainty: float = 0.85
    carry_seconds: float = 1.0
    twin_iou: float = 0.6
    double_distance: float = 0.15
    replace_margin: float = 0.2
    search_frames: int = 2
    recheck_frames: int = 15
    backward_frames: int = 15
    hold_seconds: float = 0.15

    def __post_init__(self) -> None:
        for name in ("min_presence", "birth_presence", "backward_presence", "doubtful_presence"):
            _check_range(self, name, 0, 1)
        _check_range(self, "mask_presence", 0, 1)
        _check_range(self, "mask_certainty", 0, 1)
        _check_range(self, "carry_seconds", 0, 60)
        _check_range(self, "twin_iou", 0, 1)
        _check_range(self, "double_distance", 0, 1)
        _check_range(self, "replace_margin", 0, 1)
        for name in ("search_frames", "recheck_frames"):
            _check_range(self, name, 1, 1000)
        _check_range(self, "backward_frames", 1, 120)
        _check_range(self, "hold_seconds", 0, 5)


@dataclass(frozen=True)
class SideSettings:
    """Deciding which track is the right hand; see ``crop/sides.py``.

    Attributes:
        mask_weight: Log odds that a frame's masks give where they fit one way round alone.
        vote_weight: Weight of one sighting's log odds; below 1 as neighbouring frames agree anyway.
        change_cost: Log odds that a change of sides costs while the same hand is followed.
        apart_factor: How much dearer a change is while two hands are seen well apart.
        forget_seconds: A hand found again after so long may be either side for free.
        min_track_frames: Tracks seen in fewer frames are taken out.
        delay_frames: Frames looked ahead before a side is given out.
        step_frames: Sides are given out for so many frames at a time.
    """

    mask_weight: float = 1.0
    vote_weight: float = 0.3
    change_cost: float = 30.0
    apart_factor: float = 8.0
    forget_seconds: float = 1.0
    min_track_frames: int = 3
    delay_frames: int = 240
    step_frames: int = 60

    def __post_init__(self) -> None:
        _check_range(self, "mask_weight", 0, 100)
        _check_range(self, "vote_weight", 0, 10)
        _check_range(self, "change_cost", 0, 1e6)
        _check_range(self, "apart_factor", 1, 1e6)
        _check_range(self, "forget_seconds", 0.01, 60)
        _check_range(self, "min_track_frames", 1, 100)
        _check_range(self, "delay_frames", 0, 100_000)
        _check_range(self, "step_frames", 1, 10_000)


@dataclass(frozen=True)
class MotionSettings:
    """The temporal stage.

    Attributes:
        smooth_seconds: Width (standard deviation) of the smoother for a hand at rest; 0 = off.
        bridge_seconds: Gaps up to this long are filled between their ends; 0 = never.
        bridge_behind_seconds: The same of a hand that is lost behind the other one.
        own_frames: Frames that a window gives out.
        ahead_frames: Frames looked ahead at most; None = all that could matter.
        causal: Smooth without looking ahead (bridge and refine nothing, paint pictures that are
            kept by earlier frames alone), for streams.
    """

    smooth_seconds: float = 0.09
    bridge_seconds: float = 0.25
    bridge_behind_seconds: float = 1.0
    own_frames: int = 240
    ahead_frames: int | None = None
    causal: bool = False

    def __post_init__(self) -> None:
        _check_range(self, "smooth_seconds", 0, 1)
        _check_range(self, "bridge_seconds", 0, 2)
        _check_range(self, "bridge_behind_seconds", 0, 2)
        _check_range(self, "own_frames", 1, 100_000)
        if self.ahead_frames is not None:
            _check_range(self, "ahead_frames", 0, 100_000)
        _check_switch(self, "causal")


@dataclass(frozen=True)
class Settings:
    """Everything that changes a result; saved with it.

    Attributes:
        find: Finding hands in a whole frame.
        follow: Following hands from frame to frame.
        side: Right or left.
        motion: The temporal stage.
        hasm: Which segmentation of both hands: ``small``, or ``off``.
        hdrm: Which painter of whole, single hands: ``small``, ``off``, or ``auto`` (small wherever
            there are masks to go by).
        memory: The painter remembers hands from the frames before, and for pictures that are kept
            also looks at the frames after, unless ``motion.causal``: ``on``, or ``off`` (each frame
            is painted by itself).
        shpe: Which single-hand pose estimator: ``landmark`` or ``small``.
        shpe_2d: Whose joints in the picture are taken where SHPE is ``small``: its ``own``, the
            ``landmark`` net's, or their ``mean``, in which ours count as much as they are sure.
        shpe_3d: Whose 3D shape is taken there: its ``own`` or the ``landmark`` net's.
        refine: The temporal stage's refining transformer: ``small``, or ``off`` (poses are only
            smoothed).
        engine: What runs the nets on a CPU: ``torch``, ``openvino``, or ``auto`` (openvino where it
            is installed).
        mirror: The video is mirrored (selfie): sides are the person's, not the picture's.
        focal_px: Focal length given by the user in pixels; None = from metadata or assumed.
        fov_deg: Field of view across the longer side, given by the user; None = assumed 60.
        image_rate: Frames a second of image folders.
    """

    find: FindSettings = field(default_factory=FindSettings)
    follow: FollowSettings = field(default_factory=FollowSettings)
    side: SideSettings = field(default_factory=SideSettings)
    motion: MotionSettings = field(default_factory=MotionSettings)
    hasm: str = "small"
    hdrm: str = "auto"
    memory: str = "on"
    shpe: str = "small"
    shpe_2d: str = "mean"
    shpe_3d: str = "own"
    refine: str = "small"
    engine: str = "auto"
    mirror: bool = False
    focal_px: float | None = None
    fov_deg: float | None = None
    image_rate: float = 30.0

    def __post_init__(self) -> None:
        for name, words in _WORDS.items():
            _check_word(self, name, words)
        if self.side.delay_frames < self.follow.backward_frames:
            raise SettingsError(
                f"side.delay_frames is {self.side.delay_frames} and follow.backward_frames "
                f"{self.follow.backward_frames}: hands are filled in so far back that sides must "
                "wait as long; lower the one or raise the other"
            )
        if self.hdrm == "small" and self.hasm == "off":
            raise SettingsError(
                "Settings.hdrm is 'small' and Settings.hasm is 'off', but HDRM goes by HASM's "
                "masks; leave hasm on, or set hdrm to 'auto' or 'off'"
            )
        if self.focal_px is not None and self.fov_deg is not None:
            raise SettingsError(
                "focal_px and fov_deg are both given; give one of --focal and --fov"
            )
        if self.focal_px is not None:
            _check_range(self, "focal_px", 1, 1e6)
        if self.fov_deg is not None:
            _check_range(self, "fov_deg", 1, 170)
        _check_range(self, "image_rate", 0.01, 1000)
        _check_switch(self, "mirror")

    @property
    def paints(self) -> bool:
        """Whether HDRM is to paint hands."""
        return self.hdrm != "off" and self.hasm != "off"

    def to_json(self) -> dict[str, Any]:
        """Give all settings as plain JSON values."""
        return dataclasses.asdict(self)


def live_settings(settings: Settings, delay_frames: int) -> Settings:
    """Give settings with which a pose is told soon after its frame, not when it is known best.

    A third of the delay goes into windows, as refining every frame by itself would be slow; the
    rest is looked ahead, by what decides the sides and by the temporal stage in equal parts.

    Args:
        settings: All others.
        delay_frames: A frame's pose is told when so many frames more have come, or sooner.

    Raises:
        SettingsError: The delay is out of range.
    """
    check_number("delay_frames", delay_frames, 1, MAX_DELAY_FRAMES, whole=True)
    own = max(delay_frames // 3, 1)
    left = delay_frames - (own - 1)
    sides = left // 2
    follow, motion = settings.follow, settings.motion
    return dataclasses.replace(
        settings,
        follow=dataclasses.replace(
            follow, backward_frames=max(min(follow.backward_frames, sides), 1)
        ),
        side=dataclasses.replace(settings.side, delay_frames=max(sides, 1), step_frames=1),
        motion=dataclasses.replace(
            motion, own_frames=own, ahead_frames=max(left - max(sides, 1), 0)
        ),
    )


def settings_from(values: dict[str, Any]) -> Settings:
    """Build settings from nested plain values; what is not named keeps its default.

    Raises:
        SettingsError: A key is unknown or a value is out of range.
    """
    built: Settings = build_settings(Settings, values)
    return built


def load_settings(path: Path) -> Settings:
    """Read settings from a YAML file; see ``configs/``.

    Raises:
        SettingsError: The file cannot be read, a key is unknown or a value is out of range.
    """
    return settings_from(read_yaml(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a settings file as plain nested values.

    Raises:
        SettingsError: The file cannot be read or is no mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(f"settings file {path} cannot be read: {reason}") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise SettingsError(
            f"settings file {path} holds {type(values).__name__}, expected a mapping"
        )
    return values


def build_settings(kind: Any, values: dict[str, Any], where: str = "") -> Any:
    """Build frozen settings of a kind from nested plain values.

    Args:
        kind: A dataclass; fields with a default factory are settings of their own.
        values: What is not named keeps its default; lists become tuples.
        where: How the keys are called in errors, such as ``data.``.

    Raises:
        SettingsError: A key is unknown or missing, or a value is out of range.
    """
    if not isinstance(values, dict):
        raise SettingsError(f"setting {where.rstrip('.')} is {values!r}, expected a mapping")
    known = {f.name: f for f in dataclasses.fields(kind)}
    unknown = sorted(map(str, set(values) - set(known)))
    if unknown:
        raise SettingsError(
            f"setting {where}{unknown[0]} is unknown; known here: {', '.join(sorted(known))}"
        )
    arguments = {}
    for name, value in values.items():
        nested = known[name].default_factory
        if nested is not dataclasses.MISSING:
            value = build_settings(nested, value, f"{where}{name}.")
        arguments[name] = tuple(value) if isinstance(value, list) else value
    for name, known_field in known.items():
        no_default = known_field.default is known_field.default_factory is dataclasses.MISSING
        if no_default and name not in arguments:
            raise SettingsError(f"setting {where}{name} is missing")
    return kind(**arguments)
