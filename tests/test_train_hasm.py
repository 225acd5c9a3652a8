"""HASM's lessons: losses and scores against slow and obvious ones, pictures, batches, checks."""

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from made_shards import DISC_RGB, disc_shot, write_all, write_made
from torch import nn

import hdrvideo.train.recipes
from hdrvideo.checkpoint import warm_start, weights_path
from hdrvideo.config import build_settings
from hdrvideo.errors import DataError, SettingsError, ShapeError
from hdrvideo.frame.hasm import HandMasks, HasmNet
from hdrvideo.synth.assets import split_of
from hdrvideo.synth.place import PasteSettings
from hdrvideo.synth.stored import ShardPictures
from hdrvideo.train.losses import mask_loss, side_loss, soft_dice
from hdrvideo.train.pictures import (
    EmptyPictures,
    MadePictures,
    PastedPictures,
    hand_free_pictures,
)
from hdrvideo.train.recipes import HasmData, HasmRecipe, HasmTask, as_seen
from hdrvideo.train.scores import mask_scores
from hdrvideo.train.sheets import draw_mask_sheet
from hdrvideo.train.views import ViewSettings

R = 64
HALF = R // 2


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("data"))


def recipe(data: dict, **more) -> HasmRecipe:
    settings = build_settings(HasmData, data)
    return HasmRecipe(settings, **({"views": ViewSettings(R), "batch": 8} | more))


@pytest.fixture(scope="module")
def folders(data) -> dict[str, Path]:
    """Give the folders of what pictures are drawn from."""
    return {
        "made": Path(data["made"][0]),
        "held_out": Path(data["held_out"][0]),
        "crops": Path(data["crops"]),
        "hand_free": Path(data["hand_free"][0]),
    }


@pytest.fixture(scope="module")
def task(data):
    return HasmTask(HasmNet(), recipe(data))


def truth_of(seed: int = 0, b: int = 3, cells: int = 12) -> dict[str, torch.Tensor]:
    """Draw hard masks; the right hand hides some of the left; the last picture has no left hand."""
    draw = torch.Generator().manual_seed(seed)
    amodal = (torch.rand(b, 2, cells, cells, generator=draw) < 0.4).float()
    amodal[-1, 1] = 0
    visible = amodal.clone()
    visible[:, 1] *= 1 - amodal[:, 0]
    present = (amodal.sum(dim=(2, 3)) > 0).float()
    return {
        "visible": visible,
        "amodal": amodal,
        "present": present,
        "present_weight": torch.ones(b, 2),
    }


def perfect(truth: dict[str, torch.Tensor], size: float = 40.0) -> HandMasks:
    return HandMasks(
        (2 * truth["amodal"] - 1) * size,
        (2 * truth["visible"] - 1) * size,
        (2 * truth["present"] - 1) * size,
    )


def loss_of(masks: HandMasks, truth: dict[str, torch.Tensor], **more) -> dict[str, float]:
    keys = ("visible", "amodal", "present", "present_weight")
    losses = mask_loss(masks, *(truth[key] for key in keys), **more)
    assert all(value.shape == () for value in losses.values())
    return {name: float(value) for name, value in losses.items()}


def some_masks(truth: dict[str, torch.Tensor], seed: int = 3) -> HandMasks:
    draw = torch.Generator().manual_seed(seed)
    shapes = (truth["amodal"].shape, truth["amodal"].shape, truth["present"].shape)
    return HandMasks(*(2 * torch.randn(shape, generator=draw) for shape in shapes))


# Losses.


def test_nothing_is_lost_on_a_perfect_answer():
    for value in loss_of(perfect(truth_of()), truth_of()).values():
        assert value == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("part", ["whole_logit", "share_logit", "presence_logit"])
def test_any_worse_answer_loses_more(part):
    truth = truth_of()
    best = loss_of(perfect(truth, 8.0), truth)["sum"]
    amodal = truth["amodal"].flatten()
    n_tried = 0
    for index in range(0, getattr(perfect(truth), part).numel(), 1 if "pre" in part else 13):
        # Where there is no hand its hidden share means nothing.
        if part == "share_logit" and amodal[index] == 0:
            continue
        n_tried += 1
        for wrong in (0.0, -8.0, -60.0):
            masks = perfect(truth, 8.0)
            values = getattr(masks, part).view(-1)
            values[index] = values[index].sign() * wrong
            assert loss_of(masks, truth)["sum"] > best + 1e-5
    assert n_tried >= 6


def test_losses_are_what_they_say():
    """Against double precision and logarithms of probabilities, pixel by pixel."""
    truth = truth_of(1)
    # Soft cells, as views have at a hand's rim.
    truth["amodal"] = truth["amodal"] * 0.9 + 0.05
    truth["visible"] = torch.minimum(truth["visible"] * 0.8 + 0.02, truth["amodal"])
    truth["present_weight"][0, 1] = 0
    masks = some_masks(truth)
    found = loss_of(masks, truth, hidden_weight=2.5)
    p, q, there = (
        1 / (1 + np.exp(-v.numpy().astype(np.float64)))
        for v in (masks.whole_logit, masks.share_logit, masks.presence_logit)
    )
    amodal, visible = (truth[k].numpy().astype(np.float64) for k in ("amodal", "visible"))

    def entropy(wanted, said):
        return -(wanted * np.log(said) + (1 - wanted) * np.log(1 - said))

    def overlap(wanted, said):
        shares = []
        for b in range(len(said)):
            for side in range(2):
                both = 2 * (said[b, side] * wanted[b, side]).sum() + 20
                shares.append(both / (said[b, side].sum() + wanted[b, side].sum() + 20))
        return 1 - np.mean(shares)

    whole = (entropy(amodal, p) * (1 + 1.5 * (amodal - visible))).mean()
    seen = entropy(visible, p * q).mean()
    told = []
    for b in range(len(p)):
        for side in range(2):
            own, other = (p * q)[b, side], (p * q)[b, 1 - side]
            if visible[b, side].sum() >= 1:
                told.append((-np.log(own / (own + other)) * visible[b, side]).sum())
                told[-1] /= visible[b, side].sum()
    weight = truth["present_weight"].numpy()
    expected = {
        "whole": whole,
        "visible": seen,
        "side": np.mean(told),
        "dice": overlap(amodal, p) + overlap(visible, p * q),
        "presence": (entropy(truth["present"].numpy(), there) * weight).mean(),
    }
    shares = {"whole": 1, "visible": 1, "side": 0.5, "dice": 0.2, "presence": 0.3}
    expected["sum"] = sum(shares[name] * value for name, value in expected.items())
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("whole", [-60.0, 60.0])
@pytest.mark.parametrize("share", [-60.0, 60.0])
@pytest.mark.parametrize("there", [-60.0, 60.0])
def test_gradients_are_finite_where_the_net_is_surest(whole, share, there):
    truth = truth_of()
    shape = truth["amodal"].shape
    logits = [torch.full(shape, whole), torch.full(shape, share), torch.full((3, 2), there)]
    for values in logits:
        values.requires_grad_()
    keys = ("visible", "amodal", "present", "present_weight")
    losses = mask_loss(HandMasks(*logits), *(truth[key] for key in keys))
    losses["sum"].backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(values.grad.isfinite().all() for values in logits)
    # However sure the net is, a wrong answer pulls back: no plateau.
    seen, amodal = truth["visible"] > 0, truth["amodal"] > 0
    if whole > 0:
        assert (logits[0].grad[~amodal] > 0).all()
    else:
        assert (logits[0].grad[amodal] < 0).all()
    if share > 0 and whole > 0:
        assert (logits[1].grad[amodal & ~seen] > 0).all()
    if share < 0:
        assert (logits[1].grad[seen] < 0).all()
    wrong = (there > 0) != (truth["present"] > 0)
    assert (logits[2].grad[wrong].abs() > 0.01).all()


def test_hidden_pixels_weigh_what_is_asked_for():
    truth = truth_of()
    masks = some_masks(truth)
    one, three, five = (loss_of(masks, truth, hidden_weight=w)["whole"] for w in (1, 3, 5))
    assert three > one + 1e-3
    assert five - three == pytest.approx(three - one, rel=1e-4)
    shown = truth | {"visible": truth["amodal"]}
    assert loss_of(masks, shown, hidden_weight=1) == loss_of(masks, shown, hidden_weight=5)


def test_unclear_presence_teaches_nothing():
    truth = truth_of()
    truth["present_weight"][1] = 0
    logits = some_masks(truth).presence_logit.requires_grad_()
    masks = HandMasks(*perfect(truth).__dict__.values())
    masks = HandMasks(masks.whole_logit, masks.share_logit, logits)
    keys = ("visible", "amodal", "present", "present_weight")
    mask_loss(masks, *(truth[key] for key in keys))["sum"].backward()
    assert (logits.grad[1] == 0).all()
    assert (logits.grad[[0, 2]] != 0).all()


def test_sides_are_told_apart_by_a_term_of_their_own():
    truth = truth_of()
    masks = perfect(truth, 8.0)
    swapped = HandMasks(masks.whole_logit.flip(1), masks.share_logit.flip(1), masks.presence_logit)
    both = HandMasks(
        masks.whole_logit.amax(dim=1, keepdim=True).expand(-1, 2, -1, -1),
        masks.share_logit.amax(dim=1, keepdim=True).expand(-1, 2, -1, -1),
        masks.presence_logit,
    )
    right, unsure, wrong = (loss_of(m, truth)["side"] for m in (masks, both, swapped))
    assert right < 0.01
    assert unsure == pytest.approx(math.log(2), abs=1e-4)
    assert wrong > 4


def test_pictures_without_hands_have_no_sides():
    log_p = torch.full((2, 2, 4, 4), -1.0, requires_grad=True)
    loss = side_loss(log_p, torch.zeros(2, 2, 4, 4))
    loss.backward()
    assert loss == 0
    assert (log_p.grad == 0).all()


def test_dice_of_equals_is_nothing_and_of_strangers_nearly_one():
    masks = torch.zeros(1, 2, 100, 100)
    masks[0, 0, :50] = 1
    assert soft_dice(masks, masks) == 0
    assert soft_dice(masks, 1 - masks) == pytest.approx(1 - 20 / 10020)


# Scores.


def test_a_perfect_answer_has_every_point():
    truth = truth_of()
    scores = mask_scores(perfect(truth), truth)
    assert scores.pop("ghosts") == 0
    assert scores == dict.fromkeys(scores, 1.0)
    assert set(scores) == {
        *("iou_visible", "iou_amodal", "iou_hidden", "presence", "side", "score"),
    }


def test_swapped_sides_have_no_side_right():
    truth = truth_of()
    masks = perfect(truth)
    swapped = HandMasks(*(getattr(masks, name).flip(1) for name in masks.__dataclass_fields__))
    scores = mask_scores(swapped, truth)
    assert scores["side"] == 0
    # The one picture with one hand: it is missed and the other is a ghost.
    assert scores["presence"] == pytest.approx(4 / 6)
    assert scores["ghosts"] == 1
    unsure = HandMasks(torch.zeros(3, 2, 12, 12), torch.zeros(3, 2, 12, 12), masks.presence_logit)
    assert mask_scores(unsure, truth)["side"] == 0


def test_scores_are_what_counting_gives():
    truth = truth_of(2)
    truth["present_weight"][0, 0] = 0
    masks = some_masks(truth)
    scores = mask_scores(masks, truth)
    ious: dict[str, list[float]] = {"visible": [], "amodal": [], "hidden": []}
    right, ghosts = [], []
    for b in range(3):
        for side in range(2):
            is_there, called = truth["present"][b, side] > 0, masks.presence[b, side] >= 0.5
            if truth["present_weight"][b, side] == 0:
                continue
            right.append(is_there == called)
            if not is_there:
                ghosts.append(called)
                continue
            known = [truth[k][b, side] >= 0.5 for k in ("visible", "amodal")]
            said = [getattr(masks, k)[b, side] >= 0.5 for k in ("visible", "amodal")]
            for pair in (known, said):
                pair.append(pair[1] & ~pair[0])
            for name, a, m in zip(ious, known, said, strict=True):
                if name != "hidden" or a.sum() >= 0.05 * known[1].sum():
                    ious[name].append(float((a & m).sum() / (a | m).sum()))
    expected = {f"iou_{name}": np.mean(values) for name, values in ious.items()}
    expected["presence"] = np.mean(right)
    expected["score"] = np.mean(list(expected.values()))
    expected["ghosts"] = np.mean(ghosts)
    assert len(ious["amodal"]) == 4
    assert {name: scores[name] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_what_no_hand_tells_is_left_out_of_the_score():
    truth = truth_of()
    nothing = {**truth, **{k: torch.zeros_like(truth[k]) for k in ("visible", "amodal", "present")}}
    scores = mask_scores(perfect(nothing), nothing)
    for name in ("iou_visible", "iou_amodal", "iou_hidden", "side"):
        assert math.isnan(scores[name])
    assert (scores["presence"], scores["ghosts"], scores["score"]) == (1, 0, 1)
    unclear = {**nothing, "present_weight": torch.zeros(3, 2)}
    assert all(math.isnan(value) for value in mask_scores(perfect(unclear), unclear).values())


def test_a_hand_thinner_than_a_cell_is_no_mistake():
    truth = truth_of(b=1)
    truth["amodal"] = torch.zeros(1, 2, 12, 12)
    truth["amodal"][0, 0, :, 3] = 0.4
    truth["visible"] = truth["amodal"].clone()
    truth["present"] = torch.tensor([[1.0, 0.0]])
    scores = mask_scores(perfect(truth), truth)
    assert scores["score"] == scores["presence"] == 1


# Pictures.


def test_made_pictures_are_those_of_the_shards(folders, tmp_path):
    more = write_made(tmp_path / "more", "train", disc_shot(3, 9))
    both = [folders["made"], more]
    made, parts = MadePictures(both, "train"), [ShardPictures(f, "train") for f in both]
    assert len(made) == 15 + 3
    for index, part, i in ((0, 0, 0), (14, 0, 14), (15, 1, 0), (17, 1, 2)):
        assert np.array_equal(made[index].rgb_u8, parts[part].rgb_u8(i))
        for ours, theirs in zip(
            (made[index].visible, made[index].amodal), parts[part].masks(i), strict=True
        ):
            assert np.array_equal(ours, theirs)
    for index in (-1, 18):
        with pytest.raises(IndexError):
            made[index]


def draws(source, n: int = 30, seed: int = 0):
    return source.draw(np.random.default_rng(seed), n)


def same_pictures(a, b) -> bool:
    return len(a) == len(b) and all(
        np.array_equal(getattr(x, name), getattr(y, name))
        for x, y in zip(a, b, strict=True)
        for name in ("rgb_u8", "visible", "amodal")
    )


def test_one_of_two_hands_is_taken_away_now_and_then(folders):
    made = [folders["made"]]
    two = draws(MadePictures(made, "train", alone_share=0))
    assert any(p.amodal.any(axis=(1, 2)).all() for p in two)
    alone = draws(MadePictures(made, "train", alone_share=1))
    sides = set()
    for before, after in zip(two, alone, strict=True):
        there = before.amodal.any(axis=(1, 2))
        if not there.all():
            assert same_pictures([before], [after])
            continue
        side = int(after.amodal.any(axis=(1, 2)).argmax())
        sides.add(side)
        assert np.array_equal(after.amodal[side], before.amodal[side])
        assert np.array_equal(after.visible, after.amodal)
        assert not after.amodal[1 - side].any()
        # The other is gone from the picture, too, and this one is no longer hidden.
        rgb = after.rgb_u8 / 255
        near = [np.abs(rgb - colour).max(axis=2) < 0.15 for colour in DISC_RGB]
        assert near[side][after.amodal[side]].mean() > 0.97
        assert not near[1 - side].any()
    assert sides == {0, 1}
    some = draws(MadePictures(made, "train", alone_share=0.5), 200)
    n_two = sum(p.amodal.any(axis=(1, 2)).all() for p in some)
    # Of the two in five with two hands about half.
    assert 20 < n_two < 60


def test_pasted_pictures_hold_the_crops_hands(folders):
    empty = hand_free_pictures([folders["hand_free"]], "train")
    settings = PasteSettings(size_px=R, one_share=0.3, none_share=0.1)
    source = PastedPictures(folders["crops"], "train", empty, settings, seed=3, n_groups=3)
    assert source.draw(np.random.default_rng(0), 0) == []
    found = draws(source, 40)
    n_hands = [int(p.amodal.any(axis=(1, 2)).sum()) for p in found]
    assert set(n_hands) == {0, 1, 2}
    for picture in found:
        assert picture.rgb_u8.shape == (R, R, 3)
        assert not (picture.visible & ~picture.amodal).any()
        # Discs are of a strong colour, all else is grey, whatever the light.
        strength = np.ptp(picture.rgb_u8.astype(int), axis=2)
        for side in range(2):
            if picture.visible[side].sum() > 40:
                assert np.median(strength[picture.visible[side]]) > 80
        assert np.median(strength[~picture.amodal.any(axis=0)]) < 40
    assert same_pictures(found, draws(source, 40))
    # In whatever order they are asked for: each is a function of the seed and its number.
    again = PastedPictures(folders["crops"], "train", empty, settings, seed=3, n_groups=3)
    draws(again, 3, seed=9)
    assert same_pictures(found, draws(again, 40))
    other = PastedPictures(folders["crops"], "train", empty, settings, seed=4, n_groups=3)
    assert not same_pictures(found[:1], draws(other, 40)[:1])


def test_pictures_without_hands_are_squares_of_their_source():
    rgb = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    sides = set()
    for picture in draws(EmptyPictures([rgb]), 30):
        side = len(picture.rgb_u8)
        sides.add(side)
        assert 20 <= side <= 50
        assert not picture.visible.any()
        assert not picture.amodal.any()
        corner = picture.rgb_u8[0, 0]
        starts = np.argwhere((rgb[: 51 - side, : 71 - side] == corner).all(axis=2))
        assert any(
            np.array_equal(rgb[v : v + side, u : u + side], picture.rgb_u8) for v, u in starts
        )
    assert len(sides) > 8
    tiny = draws(EmptyPictures([rgb[:3, :2]]), 5)
    assert all(p.rgb_u8.shape[0] == p.rgb_u8.shape[1] <= 2 for p in tiny)


def test_hand_free_pictures_are_of_their_split_and_not_large(tmp_path, folders):
    folder = tmp_path / "wide"
    folder.mkdir()
    name = next(n for n in map("{}.png".format, range(99)) if split_of("background", n) == "train")
    cv2.imwrite(str(folder / name), np.full((200, 1000, 3), (10, 20, 30), np.uint8))
    (wide,) = hand_free_pictures([folder], "train")
    assert wide.shape == (128, 640, 3)
    assert (wide == (30, 20, 10)).all()
    assert hand_free_pictures([folder], "test") == []
    small = hand_free_pictures([folders["hand_free"]], "train")
    assert [p.shape for p in small] == [(120, 150, 3)] * 2
    assert hand_free_pictures([], "train") == []


def test_sources_without_pictures_are_refused(folders, tmp_path):
    none = write_made(tmp_path / "none", "train")
    with pytest.raises(DataError, match=r"no picture in .*none; make some with synth shards"):
        MadePictures([none], "train")
    with pytest.raises(DataError, match="no picture in no folder"):
        MadePictures([], "train")
    with pytest.raises(DataError, match="holds shards of split test, expected train"):
        MadePictures([folders["held_out"]], "train")
    with pytest.raises(DataError, match="there is no picture without hands"):
        EmptyPictures([])
    settings = PasteSettings(size_px=R)
    with pytest.raises(DataError, match="has no crop of split test; make some with synth harvest"):
        PastedPictures(folders["crops"], "test", [], settings, seed=0)
    with pytest.raises(ShapeError, match="does not exist"):
        PastedPictures(tmp_path / "gone", "train", [], settings, seed=0)


# Recipes.


def test_a_batch_is_a_function_of_its_number(data, task):
    one, again, other = task.batch(3, 0, 1), task.batch(3, 0, 1), task.batch(4, 0, 1)
    assert {name: tuple(value.shape) for name, value in one.items()} == {
        "rgb": (8, 3, R, R),
        "visible": (8, 2, HALF, HALF),
        "amodal": (8, 2, HALF, HALF),
        "hints": (8, 3, HALF, HALF),
        "present": (8, 2),
        "present_weight": (8, 2),
    }
    elsewhere = HasmTask(HasmNet(), recipe(data)).batch(3, 0, 1)
    for name, value in one.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, again[name])
        assert torch.equal(value, elsewhere[name])
    assert not torch.equal(one["rgb"], other["rgb"])
    seeded = HasmTask(HasmNet(), recipe(data, seed=1)).batch(3, 0, 1)
    assert not torch.equal(one["rgb"], seeded["rgb"])
    assert 0 <= one["rgb"].min() <= one["rgb"].max() <= 1


def test_workers_share_a_batch_and_see_other_pictures(task):
    shares = [task.batch(0, rank, 4) for rank in range(4)]
    assert [len(share["rgb"]) for share in shares] == [2] * 4
    pictures = torch.cat([share["rgb"] for share in shares]).flatten(1)
    gaps = torch.cdist(pictures, pictures) + 100 * torch.eye(8)
    assert gaps.min() > 0.1
    with pytest.raises(SettingsError, match="batch is 8, expected a multiple of 3, the number of"):
        task.batch(0, 0, 3)


def test_a_batch_is_mixed_as_asked_for(data):
    only = {"made_share": 0.0, "pasted_share": 0.0, "empty_share": 0.0}
    empty = HasmTask(HasmNet(), recipe({**data, **only, "empty_share": 1.0})).batch(0, 0, 1)
    assert not empty["amodal"].any()
    views = ViewSettings(R, pair_share=1.0)
    mixed = HasmTask(
        HasmNet(),
        recipe(
            {**data, **only, "made_share": 0.5, "empty_share": 0.5, "made": data["made"]},
            views=views,
            batch=64,
        ),
    ).batch(0, 0, 1)
    n_empty = int((mixed["amodal"].amax(dim=(1, 2, 3)) == 0).sum())
    # One in five of the made ones is empty, too.
    assert 25 <= n_empty <= 52


def test_hints_are_laid_over_the_picture(task):
    batch = task.batch(0, 0, 1)
    seen = as_seen(batch)
    assert seen.shape == (8, 6, R, R)
    assert torch.equal(seen[:, :3], batch["rgb"])
    assert torch.equal(seen[:, 3:, 1::2, ::2], batch["hints"])
    assert batch["hints"].any()


class Oracle(nn.Module):
    """Knows the right answer to the checks' pictures; a scale of -1 is always wrong."""

    def __init__(self, task: HasmTask, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.n_pictures = 0
        self.answers = {}
        for examples in task._checks:
            for example in examples:
                known = (example.amodal, example.visible, example.present)
                self.answers[example.rgb_u8.tobytes()] = known

    def forward(self, pictures):
        self.n_pictures += len(pictures)
        rgb_u8 = (pictures[:, :3].permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
        known = [self.answers[picture.tobytes()] for picture in rgb_u8]
        parts = (torch.from_numpy(np.stack(values)) for values in zip(*known, strict=True))
        return [(2 * (part >= 0.5).float() - 1) * 30 * self.scale for part in parts]


@pytest.mark.parametrize("at_once", [4, 10, 32])
def test_a_check_looks_at_all_held_out_pictures(task, monkeypatch, at_once):
    monkeypatch.setattr(hdrvideo.train.recipes, "_CHECK_BATCH", at_once)
    oracle = Oracle(task)
    scores = task.check(oracle)
    assert oracle.n_pictures == 2 * 10
    assert scores[task.better] == pytest.approx(1)
    for name in ("iou_visible", "iou_amodal", "iou_hidden", "presence", "side"):
        assert scores[name] == scores[f"{name}_told"] == 1
    wrong = task.check(Oracle(task, -1.0))
    assert wrong["presence"] == 0
    assert wrong[task.better] < 0.05


def test_checks_are_the_same_whatever_is_taught(data, task):
    other = HasmTask(HasmNet(), recipe(data, seed=5, batch=2))
    assert task.check(Oracle(other)) == other.check(Oracle(other))
    assert not any(example.hints.any() for example in task._checks[0])
    assert all(example.hints[2].all() for example in task._checks[1])
    few = HasmTask(HasmNet(), recipe({**data, "n_check": 4}))
    oracle = Oracle(few)
    few.check(oracle)
    assert oracle.n_pictures == 2 * 4


def test_sheets_show_picture_truth_and_answer(task):
    sheet = task.sheet(Oracle(task))
    assert sheet.dtype == np.uint8
    assert sheet.shape[2] == 3
    assert sheet.shape[0] % R == 0
    assert sheet.shape[1] == 4 * 3 * R
    first = sheet[:R, : 3 * R]
    seen = np.round(task._checks[0][0].rgb_u8)
    assert np.abs(first[:, :R].astype(int) - seen).max() <= 1
    # The oracle's answer is the truth.
    assert np.array_equal(first[:, R : 2 * R], first[:, 2 * R :])
    assert not np.array_equal(first[:, :R], first[:, R : 2 * R])


def test_a_sheet_paints_what_is_seen_and_shades_what_is_hidden():
    amodal = torch.zeros(1, 2, 8, 8)
    amodal[0, 0, :4, :4] = 1
    amodal[0, 1, 4:, 4:] = 1
    visible = amodal.clone()
    visible[0, 0, :4, 2:4] = 0
    truth = {"rgb": torch.full((1, 3, 16, 16), 0.4), "visible": visible, "amodal": amodal}
    masks = perfect({**truth, "present": torch.tensor([[1.0, 0.0]])})
    sheet = draw_mask_sheet(masks, truth).astype(int)
    assert sheet.shape == (16, 4 * 48, 3)
    plain, known, said = (sheet[:, k : k + 16] for k in (0, 16, 32))
    assert (plain == 102).all()
    assert (known[:8, :4] == (0.5 * 102 + 0.5 * np.array([255, 95, 31])).round()).all()
    assert known[:8, 4:8].sum() < known[:8, :4].sum()
    assert (known[8:, 8:] == (0.5 * 102 + 0.5 * np.array([0, 170, 255])).round()).all()
    assert (known[:8, 8:] == 102).all()
    # A hand that is said to be absent is not drawn.
    assert np.array_equal(said[:8], known[:8])
    assert (said[8:] == 102).all()
    assert (sheet[:, 48:] == 0).all()


def test_a_recipe_is_plain_values_and_says_everything(data, task):
    told = json.loads(json.dumps(task.describe()))
    assert told["net"] == "HasmNet"
    assert told["data"]["made"] == data["made"]
    assert told["views"]["resolution_px"] == R
    assert set(told) == {"net", "made_as", *HasmRecipe.__dataclass_fields__}


def test_thirty_steps_fit_one_batch(data):
    """At 64 px, on a batch without hints: nothing but the picture tells."""
    torch.manual_seed(0)
    net = HasmNet()
    warm_start(net, weights_path("palm"))
    views = ViewSettings(R, spoil=0.0, hint_share=0.0, pair_share=1.0)
    made = {**data, "made_share": 1.0, "pasted_share": 0.0, "empty_share": 0.0}
    task = HasmTask(net, recipe(made, views=views, batch=2))
    batch = task.batch(1, 0, 1)
    # The trunk, which has no norms, is spoilt by a larger rate without a warm-up.
    optimiser = torch.optim.AdamW(net.parameters(), 3e-4)
    losses = []
    for _ in range(31):
        loss = task.losses(net.train(), batch)["sum"]
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < losses[0] / 3, losses


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"made_share": 0.9}, "shares are .*, expected 1 in all"),
        ({"made_share": -0.25, "empty_share": 1.0}, r"made_share is -0\.25, expected a number"),
        ({"made_share": "0.5"}, "made_share is '0.5', expected a number from 0 to 1"),
        ({"made": []}, "made_share is 0.5 and there is nothing to take it from; name a folder"),
        ({"crops": None}, "pasted_share is 0.25 and there is nothing to take it from"),
        ({"hand_free": []}, "empty_share is 0.25 and there is nothing to take it from"),
        ({"held_out": []}, "held_out is empty; name a folder of shards of split test"),
        ({"made": "data/world"}, "HasmData.made is 'data/world', expected a list of folders"),
        ({"hand_free": [3]}, r"HasmData.hand_free is \(3,\), expected a list of folders"),
        ({"crops": ["a"]}, r"HasmData.crops is \('a',\), expected a folder or null"),
        ({"n_check": 0}, "n_check is 0, expected a whole number from 1"),
    ],
)
def test_data_settings_are_checked(data, change, text):
    with pytest.raises(SettingsError, match=text):
        build_settings(HasmData, {**data, **change})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"batch": 0}, "batch is 0, expected a whole number from 1 to 65536"),
        ({"batch": 2.5}, "batch is 2.5, expected a whole number"),
        ({"seed": -1}, "seed is -1, expected a whole number from 0"),
        ({"hidden_weight": "3"}, "hidden_weight is '3', expected a number"),
    ],
)
def test_recipes_are_checked(data, change, text):
    with pytest.raises(SettingsError, match=text):
        recipe(data, **change)


def test_pictures_of_the_test_split_are_no_lesson(data):
    with pytest.raises(DataError, match="holds shards of split test, expected train"):
        HasmTask(HasmNet(), recipe({**data, "made": data["held_out"]}))
    with pytest.raises(DataError, match="holds shards of split train, expected test"):
        HasmTask(HasmNet(), recipe({**data, "held_out": data["made"]}))
