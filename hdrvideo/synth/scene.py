"""What the made world's parts hand to one another: a scene (numbers only) and a shot of it.

``arrange`` turns a seed into a :class:`Scene`: every number of T frames, no pixel. ``render``
turns frames of scenes into a :class:`Shot`: pictures with their truth. Everything is in the axes
of that frame's camera (x right, y down, z forward, millimetres); a moving camera is folded in.

Axes: ``T`` frames of a scene, ``B`` pictures of a shot (frames of one or several scenes), ``S``
sides (0 right, 1 left), ``P`` props, ``L`` lights, ``H W`` pixels.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hdrvideo.datatypes import F32, Bool, check_array
from hdrvideo.errors import ShapeError

RELATIONS: Final = (
    "apart", "touching", "crossing", "interlocked", "object", "one", "none", "passing",
)  # fmt: skip
CAMERAS: Final = ("third_person", "egocentric")

# Who a prop belongs to. What belongs to a hand (a ring) counts as that hand; what belongs to an arm
# (sleeve, watch) is drawn with that arm; the rest is the scene (objects, torso, head).
OWNERS: Final = ("right_hand", "left_hand", "right_arm", "left_arm", "scene")
PATTERNS: Final = ("plain", "cloth", "stripes", "checks", "wood", "print")
# A prop's mesh: a grid of rings round an axis; the first and the last ring are points.
PROP_RINGS, PROP_SECTORS = 13, 16
N_PROP_VERTICES: Final = PROP_RINGS * PROP_SECTORS


@dataclass(frozen=True)
class Person:
    """How a person's hands look; both hands alike.

    Attributes:
        name: Identity, ``person:<number>``; the split goes by it.
        skin: Name of the skin in the assets: a texture file's stem or ``procedural:<number>``.
        tint_rgb: ``(3,)`` factor on the skin's colour.
        roughness: 0 shiny .. 1 dull.
        nail_rgb: ``(3,)`` colour of the nails.
        nail_paint: 0 natural .. 1 painted with ``nail_rgb``.
        glove_rgb: ``(2, 3)`` colour of each hand's glove.
        glove: ``(2,)`` bool, wears a glove.
        detail_seed: Draws freckles, wrinkles and veins.
    """

    name: str
    skin: str
    tint_rgb: F32
    roughness: float
    nail_rgb: F32
    nail_paint: float
    glove_rgb: F32
    glove: Bool
    detail_seed: int

    def __post_init__(self) -> None:
        check_array("tint_rgb", self.tint_rgb, (3,), "float32")
        check_array("nail_rgb", self.nail_rgb, (3,), "float32")
        check_array("glove_rgb", self.glove_rgb, (2, 3), "float32")
        check_array("glove", self.glove, (2,), "bool")


@dataclass(frozen=True)
class Props:
    """Rigid things beside the hands: sleeves, watches, rings, upper arms, torso, head, objects.

    Attributes:
        local_mm: ``(P, 13 * 16, 3)`` vertices in the prop's own axes, ring by ring.
        turn: ``(T, P, 3, 3)`` rotation into the camera.
        place_mm: ``(T, P, 3)`` origin in the camera.
        exists: ``(T, P)`` bool.
        owner: ``(P,)`` int64 index into :data:`OWNERS`.
        rgb: ``(P, 2, 3)`` the pattern's two colours, 0..1.
        pattern: ``(P,)`` int64 index into :data:`PATTERNS`.
        roughness: ``(P,)`` 0 shiny .. 1 dull.
    """

    local_mm: F32
    turn: F32
    place_mm: F32
    exists: Bool
    owner: NDArray[np.int64]
    rgb: F32
    pattern: NDArray[np.int64]
    roughness: F32

    def __post_init__(self) -> None:
        p = len(self.owner)
        check_array("local_mm", self.local_mm, (p, N_PROP_VERTICES, 3), "float32")
        check_array("turn", self.turn, (None, p, 3, 3), "float32")
        check_array("place_mm", self.place_mm, (len(self.turn), p, 3), "float32")
        check_array("exists", self.exists, (len(self.turn), p), "bool")
        check_array("rgb", self.rgb, (p, 2, 3), "float32")
        check_array("pattern", self.pattern, (p,), "int64")
        check_array("roughness", self.roughness, (p,), "float32")


@dataclass(frozen=True)
class Lights:
    """Directional lights over a sky and a ground.

    Attributes:
        towards: ``(T, L, 3)`` unit vectors to each light, camera axes.
        rgb: ``(L, 3)`` brightness of each.
        up: ``(T, 3)`` unit vector to the sky, camera axes.
        sky_rgb: ``(3,)`` ambient light from above.
        ground_rgb: ``(3,)`` ambient light from below.
    """

    towards: F32
    rgb: F32
    up: F32
    sky_rgb: F32
    ground_rgb: F32

    def __post_init__(self) -> None:
        t, n = len(self.up), len(self.rgb)
        check_array("towards", self.towards, (t, n, 3), "float32")
        check_array("rgb", self.rgb, (n, 3), "float32")
        check_array("up", self.up, (t, 3), "float32")
        check_array("sky_rgb", self.sky_rgb, (3,), "float32")
        check_array("ground_rgb", self.ground_rgb, (3,), "float32")


@dataclass(frozen=True)
class Background:
    """A picture behind everything that slides and grows with time.

    Attributes:
        name: Name of the picture in the assets, or ``procedural:<number>``.
        picture_from_frame: ``(T, 2, 3)`` float32 affine, frame pixels to background pixels; outside
            the picture its mirror image goes on.
    """

    name: str
    picture_from_frame: F32

    def __post_init__(self) -> None:
        check_array("picture_from_frame", self.picture_from_frame, (None, 2, 3), "float32")


@dataclass(frozen=True)
class Effects:
    """What the camera and the file do to the picture; see ``synth/effects.py``.

    Attributes:
        shutter: Part of the frame time that the shutter is open (motion blur), 0 = none.
        defocus_px: Standard deviation of the blur per 192 pixels of picture height.
        exposure: Factor on the brightness.
        gamma: Exponent on 0..1 colours after exposure.
        cast_rgb: ``(3,)`` factor per channel.
        saturation: 1 = as it is.
        noise: Standard deviation at full brightness, 0..1 colours.
        jpeg_quality: 5..100; 0 = no compression.
    """

    shutter: float
    defocus_px: float
    exposure: float
    gamma: float
    cast_rgb: F32
    saturation: float
    noise: float
    jpeg_quality: int

    def __post_init__(self) -> None:
        check_array("cast_rgb", self.cast_rgb, (3,), "float32")


@dataclass(frozen=True)
class Scene:
    """All numbers of a made clip.

    Attributes:
        seed: Where it came from.
        split: ``train`` or ``test``.
        relation: One of :data:`RELATIONS`, what the clip shows.
        camera: One of :data:`CAMERAS`.
        frame_seconds: Time from frame to frame.
        height_px: Picture height.
        width_px: Picture width.
        k_px: ``(T, 3, 3)`` camera matrix.
        pose: ``(T, 2, 16, 3)`` axis-angle, see :mod:`hdrvideo.handmodel`.
        shape: ``(2, n_shape)``.
        wrist_mm: ``(T, 2, 3)``.
        wrist_bend: ``(T, 2, 3, 3)`` of the hand against the forearm.
        present: ``(T, 2)`` bool; the hand is in the scene (it may still be outside the picture).
        person: How the hands look.
        props: Things beside the hands.
        lights: Light.
        background: What is behind.
        effects: Camera and file.
        motions: Names of the poses and recordings used; the split goes by them.
    """

    seed: int
    split: str
    relation: str
    camera: str
    frame_seconds: float
    height_px: int
    width_px: int
    k_px: F32
    pose: F32
    shape: F32
    wrist_mm: F32
    wrist_bend: F32
    present: Bool
    person: Person
    props: Props
    lights: Lights
    background: Background
    effects: Effects
    motions: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, value, known in (
            ("split", self.split, ("train", "test")),
            ("relation", self.relation, RELATIONS),
            ("camera", self.camera, CAMERAS),
        ):
            if value not in known:
                raise ShapeError(f"{name} is {value!r}, expected one of {', '.join(known)}")
        t = len(self.k_px)
        check_array("k_px", self.k_px, (t, 3, 3), "float32")
        check_array("pose", self.pose, (t, 2, 16, 3), "float32")
        check_array("shape", self.shape, (2, None), "float32")
        check_array("wrist_mm", self.wrist_mm, (t, 2, 3), "float32")
        check_array("wrist_bend", self.wrist_bend, (t, 2, 3, 3), "float32")
        check_array("present", self.present, (t, 2), "bool")
        lengths = {
            "props.turn": len(self.props.turn),
            "lights.up": len(self.lights.up),
            "background.picture_from_frame": len(self.background.picture_from_frame),
        }
        for name, length in lengths.items():
            if length != t:
                raise ShapeError(f"{name} has {length} frames, expected {t}")

    def __len__(self) -> int:
        return len(self.k_px)


@dataclass(frozen=True)
class Shot:
    """Pictures of scenes with their truth; B frames, all of one size.

    A *whole* (amodal) hand is what its own arm and itself leave to see; *visible* is what
    everything leaves. A *bare* picture of a side shows that hand whole in front of everything, and
    the other hand gone (its arm stays): the target of de-occlusion and removal. On the visible
    pixels of the hand it equals ``rgb``.

    Attributes:
        rgb: ``(B, 3, H, W)`` float32 0..1.
        bare_rgb: ``(B, 2, 3, H, W)`` float32, by side.
        visible: ``(B, 2, H, W)`` bool.
        amodal: ``(B, 2, H, W)`` bool; visible <= amodal.
        depth_mm: ``(B, H, W)`` float32 of the nearest surface; inf where the background is.
        normal: ``(B, 3, H, W)`` float32 unit, camera axes; zero where the background is.
        face: ``(B, H, W)`` int64, triangle of the nearest surface in the shot's mesh; -1 = none.
        flow_px: ``(B, 2, H, W, 2)`` float32 motion of what is visible to the frame after (0) and
            before (1) in pixels; NaN where the scene has no such frame or the point goes behind the
            camera.
        flow_seen: ``(B, 2, H, W)`` bool; that point is visible there too.
        hand_flow_px: ``(B, 2, 2, H, W, 2)`` float32 likewise (direction, side) for each whole hand;
            NaN outside it.
        uv_px: ``(B, 2, 21, 2)`` float32; NaN where the hand is not in the scene.
        xyz_cam_mm: ``(B, 2, 21, 3)`` float32; NaN likewise.
        pose: ``(B, 2, 16, 3)`` float32 axis-angle.
        shape: ``(B, 2, n_shape)`` float32.
        present: ``(B, 2)`` bool; at least :data:`MIN_HAND_PIXELS` of the whole hand are in the
            picture.
        joint_visible: ``(B, 2, 21)`` bool; in the picture and nothing but the hand itself lies
            before it (a joint lies inside the hand, so its own skin does not count).
        hidden_share: ``(B, 2)`` float32 part of the whole hand's pixels that are not visible; NaN
            where not present.
        gap_mm: ``(B,)`` float32 least distance between vertices of the two hands; NaN without both.
        k_px: ``(B, 3, 3)`` float32.
    """

    rgb: Tensor
    bare_rgb: Tensor
    visible: Tensor
    amodal: Tensor
    depth_mm: Tensor
    normal: Tensor
    face: Tensor
    flow_px: Tensor
    flow_seen: Tensor
    hand_flow_px: Tensor
    uv_px: Tensor
    xyz_cam_mm: Tensor
    pose: Tensor
    shape: Tensor
    present: Tensor
    joint_visible: Tensor
    hidden_share: Tensor
    gap_mm: Tensor
    k_px: Tensor

    def __post_init__(self) -> None:
        b, _, h, w = self.rgb.shape
        shapes: dict[str, tuple[tuple[int | None, ...], str]] = {
            "rgb": ((b, 3, h, w), "float32"),
            "bare_rgb": ((b, 2, 3, h, w), "float32"),
            "visible": ((b, 2, h, w), "bool"),
            "amodal": ((b, 2, h, w), "bool"),
            "depth_mm": ((b, h, w), "float32"),
            "normal": ((b, 3, h, w), "float32"),
            "face": ((b, h, w), "int64"),
            "flow_px": ((b, 2, h, w, 2), "float32"),
            "flow_seen": ((b, 2, h, w), "bool"),
            "hand_flow_px": ((b, 2, 2, h, w, 2), "float32"),
            "uv_px": ((b, 2, 21, 2), "float32"),
            "xyz_cam_mm": ((b, 2, 21, 3), "float32"),
            "pose": ((b, 2, 16, 3), "float32"),
            "shape": ((b, 2, None), "float32"),
            "present": ((b, 2), "bool"),
            "joint_visible": ((b, 2, 21), "bool"),
            "hidden_share": ((b, 2), "float32"),
            "gap_mm": ((b,), "float32"),
            "k_px": ((b, 3, 3), "float32"),
        }
        for name, (shape, kind) in shapes.items():
            check_array(name, getattr(self, name), shape, kind)

    def __len__(self) -> int:
        return len(self.rgb)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Give every field as a NumPy array on the CPU."""
        return {name: getattr(self, name).cpu().numpy() for name in self.__dataclass_fields__}


# A hand is present in a picture when so many of its pixels lie in it, per 192 x 192 of picture.
MIN_HAND_PIXELS: Final = 12
