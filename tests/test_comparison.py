"""The table of all systems: scores by hand, who is ahead, and what the files say."""

import json
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from validate_truths import make_truth

from hdrvideo.errors import SettingsError, ShapeError, WriteError
from hdrvideo.validate.comparison import (
    ALIKE,
    BETTER,
    INTERACTING,
    LEAST_CLIPS,
    MASKS,
    MEASURES,
    OURS,
    PAINTING,
    PLAIN,
    POSE,
    RIVAL,
    STAGES,
    WORSE,
    Cell,
    Entrant,
    Tally,
    measures_of,
    standings,
    verdict,
)
from hdrvideo.validate.comparison_report import FILES, Comparison, SetRow, write_comparison
from hdrvideo.validate.comparison_scores import (
    is_hidden,
    mask_samples,
    paint_samples,
    pose_samples,
)
from hdrvideo.validate.match import palm_length_px
from hdrvideo.validate.set_scores import SetScore

RELATIONS = ("touching", "crossing", "interlocked", "apart", "none")
US = Entrant(POSE, "us", OURS, "a crop", "shipped", "", 2_500_000, 1_000_000_000, ("",), True)
THEM = Entrant(POSE, "them", RIVAL, "a crop", "a/b.safetensors", "9600 pictures (600 steps of 16)")
GONE = Entrant(POSE, "gone", RIVAL, "a crop", "not given", "", 1_000_000, 500_000_000)


def column(samples: np.ndarray, stage: str, name: str) -> np.ndarray:
    return samples[:, [m.name for m in measures_of(stage)].index(name)]


def tally(*values: float, stage: str = POSE, n_clips: int = len(RELATIONS)) -> Tally:
    """Give a tally with two samples in each clip; the first measure has the clip's value."""
    made = Tally.empty(stage, n_clips)
    for clip, value in enumerate(values):
        samples = np.full((2, len(measures_of(stage))), np.nan)
        samples[:, 0] = value
        made.add(clip, samples)
    return made


def standing_of(entrants, tallies, relations=RELATIONS, n_bootstrap=200):
    return standings(entrants, tallies, relations, n_bootstrap=n_bootstrap, seed=0)


def compared(n_interacting: int = 6) -> Comparison:
    """Give a comparison with all stages; the rival is worse by 10 in every clip."""
    relations = ("crossing",) * n_interacting + ("apart", "none")
    values = [10.0 * (1 + n % 3) for n in range(n_interacting)] + [40.0]
    n_clips, found = len(relations), []
    for stage in STAGES:
        entrants = [replace(e, stage=stage) for e in (US, THEM, GONE)]
        tallies = {
            "us": tally(*values, stage=stage, n_clips=n_clips),
            "them": tally(*(v + 10 for v in values), stage=stage, n_clips=n_clips),
        }
        tallies["us"].seconds[:] = [0.001, 0.002, 0.5]
        found += standing_of(entrants, tallies, relations)
    nothing = math.nan
    score = SetScore("all", 3, 3, 1.0, 8.0, 97.0, 3, 21.25, 3, 7.0, 0, nothing)
    return Comparison(
        *("small", "0.2", 5, 40, 8, 200, 0, {"torch": "2", "threads": 1}),
        standings=tuple(found),
        sets=(SetRow("freihand", "us", score),),
    )


# Scores.


def test_a_perfect_reading_and_one_that_is_off_by_a_known_amount():
    truth = make_truth(1)
    uv, xyz = truth.uv_px[0].astype(float), truth.xyz_cam_mm[0].astype(float)
    palm = palm_length_px(truth.xyz_cam_mm, truth.k_px)[0]
    samples = pose_samples(uv, xyz, xyz, uv, xyz, palm)
    for name, value in (("mpjpe_wrist_20j_mm", 0), ("pa_mpjpe_21j_mm", 0), ("epe_palm_pct", 0)):
        np.testing.assert_allclose(column(samples, POSE, name), value, atol=1e-6)
    np.testing.assert_allclose(column(samples, POSE, "pck_0.2palm_pct"), 100)
    np.testing.assert_allclose(column(samples, POSE, "mrrpe_mm"), [0, np.nan])
    off = xyz + np.where(np.arange(21) == 0, 0, 6.0)[:, None] * [1, 0, 0]
    moved = xyz + np.array([[3.0, 0, 0], [0, 4.0, 0]])[:, None]
    samples = pose_samples(uv + np.array([0.3 * palm[0], 0]), moved, off, uv, xyz, palm)
    np.testing.assert_allclose(column(samples, POSE, "mpjpe_wrist_20j_mm"), 6)
    np.testing.assert_allclose(column(samples, POSE, "mpjpe_wrist_20j_lifted_mm"), 0, atol=1e-6)
    np.testing.assert_allclose(column(samples, POSE, "epe_palm_pct")[0], 30)
    np.testing.assert_allclose(column(samples, POSE, "pck_0.2palm_pct")[0], 0)
    np.testing.assert_allclose(column(samples, POSE, "mrrpe_mm")[0], 5)


def test_a_hand_that_is_not_asked_for_is_no_sample():
    truth = make_truth(1)
    uv, xyz = truth.uv_px[0].astype(float), truth.xyz_cam_mm[0].astype(float)
    palm = palm_length_px(truth.xyz_cam_mm, truth.k_px)[0]
    one = np.array([True, False])[:, None, None]
    half = [np.where(one, a, np.nan) for a in (uv, xyz, xyz, uv, xyz)]
    samples = pose_samples(*half, palm)
    assert np.isfinite(samples[0, :5]).all()
    assert np.isnan(samples[1]).all()
    assert np.isnan(column(samples, POSE, "mrrpe_mm")).all()


def test_masks_by_hand():
    visible, amodal = np.zeros((2, 2, 8, 8), bool)
    amodal[:, :4], visible[0, :4], visible[1, :2] = True, True, True
    present = np.array([True, True])
    exact = mask_samples(visible, amodal, visible, amodal, present)
    np.testing.assert_allclose(column(exact, MASKS, "mask_iou_amodal"), 1)
    np.testing.assert_allclose(column(exact, MASKS, "mask_iou_hidden_5pct"), [np.nan, 1])
    whole = visible.copy()
    whole[1, 2] = True
    some = mask_samples(visible, whole, visible, amodal, present)
    np.testing.assert_allclose(column(some, MASKS, "mask_iou_hidden_5pct"), [np.nan, 0.5])
    np.testing.assert_allclose(column(some, MASKS, "mask_iou_amodal"), [1, 0.75])
    np.testing.assert_allclose(column(some, MASKS, "mask_iou_amodal_hidden_5pct"), [np.nan, 0.75])
    absent = mask_samples(visible, whole, visible, amodal, ~present)
    assert np.isnan(absent).all()


def test_painting_by_hand():
    true = np.full((3, 16, 16), 0.5, np.float32)
    masks = np.zeros((4, 16, 16), bool)
    masks[1, :8], masks[0, :4], masks[2, 4:12] = True, True, True
    painted = true.copy()
    painted[:, 4:8] += 0.1
    painted[:, 8:12] += 0.3
    samples = paint_samples(painted, true, masks, np.ones((16, 16), bool))
    np.testing.assert_allclose(column(samples, PAINTING, "bare_hole_l1"), 0.1, atol=1e-6)
    np.testing.assert_allclose(column(samples, PAINTING, "bare_hole_psnr_db"), 20, atol=1e-4)
    np.testing.assert_allclose(column(samples, PAINTING, "bare_removed_l1"), 0.3, atol=1e-6)
    assert np.isnan(column(samples, PAINTING, "bare_hole_squeezenet_distance")).all()
    nowhere = paint_samples(painted, true, masks, np.zeros((16, 16), bool))
    assert np.isnan(nowhere).all()


def test_a_hand_of_which_little_is_hidden_is_not_painted():
    masks = np.zeros((4, 20, 20), bool)
    masks[1] = True
    masks[0] = True
    assert not is_hidden(masks)
    masks[0, 0, :19] = False
    assert not is_hidden(masks)
    masks[0, 0] = False
    assert is_hidden(masks)
    assert not is_hidden(np.zeros((4, 20, 20), bool))


# Standings.


def test_values_are_pooled_and_groups_are_those_of_the_clips():
    us, them = standing_of([US, THEM], {"us": tally(10, 20, 30, 40), "them": tally(0, 0, 0, 8)})
    first = MEASURES[0].name
    assert us.cells["all"][first].value == 25
    assert us.cells["all"][first].n_samples == 8
    assert us.cells["all"][first].n_clips == 4
    assert us.cells[INTERACTING][first].value == 20
    assert us.cells[INTERACTING][first].low <= 20 <= us.cells[INTERACTING][first].high
    assert us.cells["apart"][first].value == 40
    assert math.isnan(us.cells["apart"][first].low)
    assert "object" not in us.cells
    assert "none" not in us.cells
    assert them.lead["us"]["all"][first].value == 2 - 25
    assert us.lead == {}


def test_differences_are_paired_by_clip():
    # Values vary much from clip to clip, the difference not at all.
    us, them = standing_of([US, THEM], {"us": tally(10, 50, 90), "them": tally(11, 51, 91)})
    first = MEASURES[0].name
    lead = them.lead["us"]["all"][first]
    assert us.cells["all"][first].high - us.cells["all"][first].low > 10
    assert lead.low == pytest.approx(1)
    assert lead.high == pytest.approx(1)
    assert verdict(MEASURES[0], replace(lead, n_clips=LEAST_CLIPS)) == WORSE


def test_the_same_seed_gives_the_same_interval():
    twice = [standing_of([US], {"us": tally(1, 5, 2, 9)})[0].cells for _ in range(2)]
    assert twice[0]["all"][MEASURES[0].name] == twice[1]["all"][MEASURES[0].name]


def test_entrants_of_other_terms_are_not_compared():
    other = replace(THEM, terms=("told more",))
    _, them = standing_of([US, other], {"us": tally(1, 2), "them": tally(3, 4)})
    assert them.lead == {}
    both = replace(THEM, terms=("", "told more"))
    _, them = standing_of([US, both], {"us": tally(1, 2), "them": tally(3, 4)})
    assert set(them.lead) == {"us"}


def test_one_that_was_not_run_has_no_scores():
    _, gone = standing_of([US, GONE], {"us": tally(1, 2)})
    assert (gone.cells, gone.lead) == ({}, {})
    assert math.isnan(gone.ms)


@pytest.mark.parametrize(
    ("stage", "low", "high", "said"),
    [
        (POSE, 1, 2, WORSE),
        (POSE, -2, -1, BETTER),
        (POSE, -1, 1, ALIKE),
        (POSE, 0, 0, ALIKE),
        (MASKS, 1, 2, BETTER),
        (MASKS, -2, -1, WORSE),
        (MASKS, math.nan, math.nan, ""),
    ],
)
def test_who_is_ahead(stage, low, high, said):
    assert verdict(measures_of(stage)[0], Cell((low + high) / 2, low, high, 9, LEAST_CLIPS)) == said


def test_few_clips_say_nothing():
    assert verdict(MEASURES[0], Cell(1.5, 1, 2, 90, LEAST_CLIPS - 1)) == ""
    for line in compared(LEAST_CLIPS - 1).verdicts():
        assert line.endswith("**us**: fewer than 6 interacting clips, too few to tell.")


def test_one_that_sees_less_is_marked():
    made = compared()
    less = replace(made.standings[1].entrant, terms=("a pair", ""))
    found = (made.standings[0], replace(made.standings[1], entrant=less))
    assert replace(made, standings=found).verdicts() == [
        "pose, interacting hands, **us**: MPJPE: ahead of them (given less)."
    ]
    # Beside one that looks at the same it is not.
    same = replace(made.standings[0].entrant, terms=("a pair",))
    found = (replace(made.standings[0], entrant=same), found[1])
    (line,) = replace(made, standings=found).verdicts()
    assert line.endswith("ahead of them.")


def test_what_internet_was_never_taught_is_said_where_it_reads_a_set():
    made = compared()
    assert "never taught" not in made.to_markdown()
    read = replace(made, sets=(replace(made.sets[0], system="internet"),))
    assert "reads one hand's turned square here, which it was never taught" in read.to_markdown()


def test_wrong_words_and_shapes_are_refused():
    with pytest.raises(ShapeError, match="stage is 'sound', expected one of pose, masks, painting"):
        replace(US, stage="sound")
    with pytest.raises(ShapeError, match="kind is 'friend', expected one of ours, rival, baseline"):
        replace(US, kind="friend")
    with pytest.raises(ShapeError, match="samples"):
        Tally.empty(POSE, 1).add(0, np.zeros((1, 2)))
    with pytest.raises(SettingsError, match="n_bootstrap is -1"):
        standing_of([US], {"us": tally(1)}, n_bootstrap=-1)


# The files.


def test_the_tables_say_who_how_and_how_sure(tmp_path):
    made = compared()
    paths = write_comparison(made, tmp_path)
    assert [path.name for path in paths] == list(FILES)
    text = paths[0].read_text()
    assert "# small 0.2: our stages beside their rivals" in text
    assert "5 clips, 40 frames (one frame in 8)" in text
    assert "| gone | rival | a crop | not given | – |" in text
    assert "| gone | 1.00 | 1.00 | – | – | – |" in text
    assert "| us | 2.50 | 2.00 | 2.0 | 12 (6) | 20.0 [" in text
    assert "| them | +10.0 [+10.0, +10.0] worse |" in text
    assert "a/b.safetensors | 9600 pictures (600 steps of 16) |" in text
    assert "| freihand | us | all | 3 of 3 | 8.0 | 97.0 | 21.2 | 7.0 | – |" in text
    told = json.loads(paths[1].read_text())
    assert told["standings"][1]["entrant"]["name"] == "them"
    assert told["standings"][1]["ms"] is None
    assert told["groups"][INTERACTING] == ["touching", "crossing", "interlocked"]
    picture = cv2.imread(str(paths[2]))
    assert picture.shape[1] == 2100
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10
    with pytest.raises(WriteError, match=r"table\.md"):
        write_comparison(made, tmp_path)
    write_comparison(made, tmp_path, overwrite=True)


def test_verdicts_name_the_rivals_that_were_run():
    pose, masks, painting = compared().verdicts()
    assert pose == "pose, interacting hands, **us**: MPJPE: ahead of them."
    # More is better there.
    assert masks == "masks, interacting hands, **us**: IoU hidden part: behind them."
    assert painting.endswith("L1 hidden part: ahead of them.")
    alone = replace(compared(), standings=tuple(standing_of([US], {"us": tally(1, 2)})))
    assert alone.verdicts() == [
        "pose, interacting hands, **us**: no rival was run on the same terms."
    ]


def test_nothing_but_names_can_be_drawn_too(tmp_path):
    found = [s for e in (US, GONE) for s in standing_of([replace(e, kind=PLAIN)], {})]
    made = replace(compared(), standings=tuple(found), sets=())
    write_comparison(made, tmp_path)
    assert "| gone | baseline |" in (tmp_path / "table.md").read_text()
