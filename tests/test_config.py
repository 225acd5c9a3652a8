"""Settings: what is unknown or out of range is refused by name; the rest comes back unchanged."""

import dataclasses
import json
import math
import re
from pathlib import Path

import pytest

from hdrvideo.config import (
    FindSettings,
    FollowSettings,
    MotionSettings,
    Settings,
    SideSettings,
    build_settings,
    live_settings,
    load_settings,
    read_yaml,
    settings_from,
)
from hdrvideo.errors import SettingsError
from hdrvideo.training import LESSONS

CONFIGS = Path(__file__).parent.parent / "configs"
NUMBERS = [
    (kind, field.name)
    for kind in (FindSettings, FollowSettings, SideSettings, MotionSettings)
    for field in dataclasses.fields(kind)
    if field.type is not bool and field.name != "ahead_frames"
]


def test_defaults_are_valid_and_nothing_named_means_defaults():
    assert settings_from({}) == Settings()
    assert settings_from({"motion": {}}) == Settings()


def test_through_json_and_back():
    settings = Settings(
        find=FindSettings(min_score=0.3),
        side=SideSettings(step_frames=7),
        motion=MotionSettings(smooth_seconds=0, causal=True),
        engine="torch",
        mirror=True,
        focal_px=777.5,
    )
    for one in (settings, Settings()):
        assert settings_from(json.loads(json.dumps(one.to_json()))) == one


def test_named_values_change_and_the_others_stay():
    settings = settings_from({"follow": {"search_frames": 5}, "mirror": True})
    assert settings.follow == FollowSettings(search_frames=5)
    assert settings.find == FindSettings()
    assert settings.mirror


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"smoth": 1}, "setting smoth is unknown; known here: engine, .*motion"),
        ({"find": {"score": 1}}, "setting find.score is unknown; known here: min_score"),
        ({"follow": {"x": 1}}, "setting follow.x is unknown; known here: backward_frames"),
        ({"side": {"x": 1}}, "setting side.x is unknown; known here: apart_factor"),
        (
            {"motion": {"window": 1}},
            "setting motion.window is unknown; known here: ahead_f",
        ),
    ],
)
def test_unknown_keys_are_refused_by_name_at_each_level(values, text):
    with pytest.raises(SettingsError, match=text):
        settings_from(values)


@pytest.mark.parametrize("wrong", [3, None, "fast", [1]])
@pytest.mark.parametrize("name", ["find", "follow", "side", "motion"])
def test_a_group_must_be_a_mapping(name, wrong):
    text = re.escape(f"setting {name} is {wrong!r}, expected a mapping")
    with pytest.raises(SettingsError, match=text):
        settings_from({name: wrong})


@pytest.mark.parametrize("wrong", [-1e-3, 1e9, math.nan, math.inf, True, "1", None])
@pytest.mark.parametrize(("kind", "name"), NUMBERS)
def test_numbers_out_of_range_are_refused(kind, name, wrong):
    text = rf"{kind.__name__}\.{name} is .*, expected a (whole )?number from \S+ to \S+"
    with pytest.raises(SettingsError, match=text):
        kind(**{name: wrong})


@pytest.mark.parametrize(
    ("kind", "name", "low", "high"),
    [
        (FindSettings, "min_score", 0, 1),
        (FollowSettings, "min_presence", 0, 1),
        (FollowSettings, "search_frames", 1, 1000),
        (FollowSettings, "backward_frames", 1, 120),
        (FollowSettings, "hold_seconds", 0, 5),
        (SideSettings, "min_track_frames", 1, 100),
        (SideSettings, "delay_frames", 0, 100_000),
        (SideSettings, "step_frames", 1, 10_000),
        (MotionSettings, "smooth_seconds", 0, 1),
        (MotionSettings, "bridge_seconds", 0, 2),
        (MotionSettings, "bridge_behind_seconds", 0, 2),
        (MotionSettings, "own_frames", 1, 100_000),
        (MotionSettings, "ahead_frames", 0, 100_000),
    ],
)
def test_ends_of_a_range_belong_to_it(kind, name, low, high):
    for value in (low, high):
        assert getattr(kind(**{name: value}), name) == value
    for value in (low - 1, high + 1):
        with pytest.raises(
            SettingsError, match=rf"{name} is {value}, expected a (whole )?number from"
        ):
            kind(**{name: value})


@pytest.mark.parametrize(("kind", "name"), [n for n in NUMBERS if n[1].endswith("_frames")])
def test_a_count_of_frames_is_a_whole_number(kind, name):
    with pytest.raises(SettingsError, match=rf"{name} is 120\.5, expected"):
        kind(**{name: 120.5})


@pytest.mark.parametrize("name", ["mirror", "motion.causal"])
def test_a_switch_is_true_or_false(name):
    group, _, key = name.rpartition(".")
    values = {group: {key: "no"}} if group else {key: "no"}
    with pytest.raises(SettingsError, match=f"{key} is 'no', expected"):
        settings_from(values)


def test_backward_reach_stays_within_the_delay():
    # Rows must not be given out sided while they can still be filled backwards.
    Settings(follow=FollowSettings(backward_frames=7), side=SideSettings(delay_frames=7))
    with pytest.raises(
        SettingsError,
        match=r"side\.delay_frames is 6 and follow\.backward_frames 7: .* lower the one or raise",
    ):
        Settings(follow=FollowSettings(backward_frames=7), side=SideSettings(delay_frames=6))


def test_looking_ahead_may_be_left_without_limit():
    assert MotionSettings().ahead_frames is None
    for wrong in (-1, 100_001, 1.5, "far"):
        with pytest.raises(SettingsError, match=r"ahead_frames is .*, expected a whole number"):
            MotionSettings(ahead_frames=wrong)


@pytest.mark.parametrize("delay_frames", [*range(1, 40), 239, 240])
def test_live_settings_keep_the_stated_delay(delay_frames):
    settings = live_settings(Settings(mirror=True), delay_frames)
    side, motion = settings.side, settings.motion
    waits = side.delay_frames + side.step_frames - 1 + motion.ahead_frames + motion.own_frames - 1
    assert waits == delay_frames
    assert settings.mirror
    assert settings.follow.backward_frames <= side.delay_frames


@pytest.mark.parametrize("delay_frames", [0, 241, 3.5, True])
def test_a_delay_has_its_limits(delay_frames):
    with pytest.raises(
        SettingsError, match=r"delay_frames is .*, expected a whole number from 1 to 240"
    ):
        live_settings(Settings(), delay_frames)


def test_top_level_errors():
    with pytest.raises(
        SettingsError, match=r"Settings\.shpe is 'mano', expected 'landmark' or 'sm"
    ):
        Settings(shpe="mano")
    with pytest.raises(
        SettingsError, match=r"Settings\.shpe_2d is 'both', expected 'landmark', 'ow"
    ):
        Settings(shpe_2d="both")
    with pytest.raises(
        SettingsError, match=r"Settings\.shpe_3d is 'mean', expected 'landmark' or "
    ):
        Settings(shpe_3d="mean")
    with pytest.raises(SettingsError, match=r"Settings\.hasm is 'no', expected 'small' or 'off'"):
        Settings(hasm="no")
    # YAML reads a bare off as false.
    with pytest.raises(
        SettingsError, match=r"Settings\.hdrm is False, expected 'auto', 'small' or"
    ):
        Settings(hdrm=False)
    with pytest.raises(SettingsError, match=r"Settings\.engine is 'onnx', expected 'auto', 'tor"):
        Settings(engine="onnx")
    with pytest.raises(SettingsError, match="focal_px and fov_deg are both given; give one of"):
        Settings(focal_px=500, fov_deg=60)
    for wrong in (0, -5, 2e6):
        with pytest.raises(SettingsError, match=r"Settings\.focal_px is .*, expected a number"):
            Settings(focal_px=wrong)
    for wrong in (0.5, 171):
        with pytest.raises(SettingsError, match=r"Settings\.fov_deg is .*, expected a number"):
            Settings(fov_deg=wrong)
    for wrong in (0, 1001):
        with pytest.raises(SettingsError, match=r"Settings\.image_rate is .*, expected a number"):
            Settings(image_rate=wrong)


def test_hdrm_needs_masks_and_says_so_only_to_those_who_ask_for_it():
    with pytest.raises(
        SettingsError, match=r"hdrm is 'small' and Settings\.hasm is 'off', but HDRM"
    ):
        Settings(hasm="off", hdrm="small")
    for hasm, hdrm, paints in (
        ("small", "small", True),
        ("small", "auto", True),
        ("small", "off", False),
        ("off", "auto", False),
        ("off", "off", False),
    ):
        assert Settings(hasm=hasm, hdrm=hdrm).paints == paints
    assert not Settings(hasm="off").paints


def test_yaml_file(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("motion:\n  smooth_seconds: 0.05\nmirror: true\n", encoding="utf-8")
    assert load_settings(path) == Settings(motion=MotionSettings(smooth_seconds=0.05), mirror=True)
    path.write_text("# nothing but a comment\n", encoding="utf-8")
    assert load_settings(path) == Settings()


def test_yaml_file_errors_are_one_line(tmp_path):
    path = tmp_path / "settings.yaml"
    with pytest.raises(SettingsError, match=r"settings\.yaml cannot be read: .*No such file"):
        load_settings(path)
    with pytest.raises(SettingsError, match=r"cannot be read: .*directory"):
        load_settings(tmp_path)
    for damaged in (b"motion: [1,\n", b"a: b: c\n", b"\xff\xfe\x00mirror", b"!!python/none x\n"):
        path.write_bytes(damaged)
        with pytest.raises(SettingsError, match=r"settings\.yaml cannot be read: ") as caught:
            load_settings(path)
        assert "\n" not in str(caught.value)
    for other, kind in (("- 1\n", "list"), ("fast\n", "str"), ("3\n", "int")):
        path.write_text(other, encoding="utf-8")
        with pytest.raises(SettingsError, match=f"holds {kind}, expected a mapping"):
            load_settings(path)
    path.write_text("3: 4\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="setting 3 is unknown"):
        load_settings(path)


def test_keys_of_mixed_kinds_are_refused_by_name(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("3: 4\nsmoth: 1\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"setting .* is unknown"):
        load_settings(path)


def test_shipped_configs_load():
    # Those of trainings are read by their own tests.
    nets = tuple(f"{name}_" for name in LESSONS)
    paths = [p for p in sorted(CONFIGS.rglob("*.yaml")) if not p.name.startswith(nets)]
    assert paths
    for path in paths:
        assert isinstance(load_settings(path), Settings), path


@dataclasses.dataclass(frozen=True)
class Inner:
    size: int = 2

    def __post_init__(self):
        if self.size < 0:
            raise SettingsError(f"Inner.size is {self.size}, expected 0 or more")


@dataclasses.dataclass(frozen=True)
class Outer:
    steps: int
    names: tuple[str, ...] = ()
    inner: Inner = dataclasses.field(default_factory=Inner)


def test_settings_of_any_kind_are_built_from_plain_values():
    assert build_settings(Outer, {"steps": 3}) == Outer(3)
    values = {"steps": 3, "names": ["a", "b"], "inner": {"size": 5}}
    before = json.dumps(values)
    built = build_settings(Outer, values)
    assert built == Outer(3, ("a", "b"), Inner(5))
    assert json.dumps(values) == before
    assert hash(built) == hash(build_settings(Outer, values))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, "setting data.steps is missing"),
        ({"names": []}, "setting data.steps is missing"),
        ({"steps": 1, "stepz": 2}, "setting data.stepz is unknown; known here: inner, names, ste"),
        ({"steps": 1, "inner": {"sise": 2}}, "setting data.inner.sise is unknown; known here: si"),
        ({"steps": 1, "inner": {"size": -2}}, "Inner.size is -2, expected 0 or more"),
        ({"steps": 1, "inner": None}, "setting data.inner is None, expected a mapping"),
        (["steps"], r"setting data is \['steps'\], expected a mapping"),
        (None, "setting data is None, expected a mapping"),
    ],
)
def test_what_cannot_be_built_is_named_with_its_place(values, text):
    with pytest.raises(SettingsError, match=text):
        build_settings(Outer, values, "data.")


def test_yaml_is_read_as_plain_values(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text("loop:\n  steps: 4\n  rate: 1.0e-3\nmade: [a, b]\n", encoding="utf-8")
    assert read_yaml(path) == {"loop": {"steps": 4, "rate": 0.001}, "made": ["a", "b"]}
    path.write_text("", encoding="utf-8")
    assert read_yaml(path) == {}
