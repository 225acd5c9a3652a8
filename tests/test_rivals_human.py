"""Human De-occlusion for hands: templates, parts, masks, and what guides the painting."""

import numpy as np
import pytest
import torch
from bare_hands import disc_joints
from rival_hands import CPU, TINY_HUMAN, R, box, says, seeded, seen_crops
from torch.nn import functional

from hdrvideo.errors import DataError, ShapeError
from hdrvideo.hand import FINGERS, JOINTS
from hdrvideo.handmodel import PARTS as MODEL_PARTS
from hdrvideo.rivals.human_deocclusion import (
    PAPER,
    PARTS,
    SMALL,
    HumanDeocclusion,
    HumanMaskNet,
    HumanMasks,
    PartGuide,
    weigh_templates,
)
from hdrvideo.train.hand_parts import BONE_LABELS, hand_parts
from hdrvideo.train.templates import cluster_masks


def with_templates(seed: int = 0) -> HumanDeocclusion:
    net = seeded(lambda: HumanDeocclusion(TINY_HUMAN), seed)
    draw = torch.Generator().manual_seed(seed)
    net.masks.templates.copy_(torch.rand(net.masks.templates.shape, generator=draw))
    return net


# The mask net.


def test_two_unets_in_series_of_the_published_widths():
    net = HumanMaskNet(PAPER)
    for unet in (net.first, net.second):
        convs = [m.out_channels for m in unet.down.modules() if isinstance(m, torch.nn.Conv2d)]
        assert convs[::2] == [64, 128, 256, 512, 512]
        assert unet.out.out_channels == 2 + len(PARTS)
    assert net.templates.shape == (64, 32, 32)
    assert net.typical.weight.shape == (32, 64, 3, 3)
    assert "templates" in net.state_dict()
    assert SMALL.n_templates == PAPER.n_templates
    assert ("background", *MODEL_PARTS[:-1]) == PARTS


def test_templates_are_weighed_by_inner_products():
    """The slides say one over the distance: the nearest template would then win (facts, 12.18)."""
    visible = box(16, 16, 32, 32, 64)[None, None]
    same = functional.adaptive_avg_pool2d(visible, 32)[0, 0]
    templates = torch.stack([same, torch.ones(32, 32), torch.zeros(32, 32)])
    weights = weigh_templates(visible, templates).amax(dim=(2, 3))
    # The whole square has as much in common with the mask as the mask itself, and is far from it.
    assert weights[0, 0].item() == pytest.approx(0.5)
    assert weights[0, 1].item() == pytest.approx(0.5)
    assert weights[0, 2].item() == 0
    faint = weigh_templates(visible * 0.01, templates)
    alike = torch.tensor([0.01 * 256, 0.01 * 256, 0.0]).softmax(0)
    assert torch.allclose(faint[0, 0, 10, 10], alike[0])
    none = weigh_templates(0 * visible, templates)
    assert torch.allclose(none[0], templates / 3)


def test_a_batch_gives_what_single_crops_give():
    net, seen = with_templates().eval(), seen_crops(b=3)
    with torch.inference_mode():
        together = net(seen)
        assert [tuple(out.shape[1:]) for out in together] == [
            *((3, R, R), (1, R, R), (2, R, R), (2, R, R), (7, R, R), (7, R, R)),
            *((7, 8, 8), (7, 2, 2), (7, 4, 4), (7, 16, 16)),
        ]
        for k in range(3):
            for one, all_three in zip(net(seen[k : k + 1]), together, strict=True):
                assert torch.allclose(one[0], all_three[k], atol=1e-4)


def test_gradients_reach_both_nets():
    net = with_templates()
    torch.stack([out.square().mean() for out in net(seen_crops())]).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
    # Templates are data: they do not learn.
    assert not net.masks.templates.requires_grad


def test_the_nets_know_nothing_of_one_another():
    net = with_templates()
    painted, _, modal, *_ = net(seen_crops())
    painted.sum().backward()
    assert all(p.grad is None for p in net.masks.parameters())
    net.zero_grad()
    modal.sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in net.content.parameters())


def test_what_is_painted_is_cut_off_and_the_outside_is_dimmed():
    net = with_templates().content.eval()
    with torch.no_grad():
        net.holes.last.weight.mul_(1000)
    painted, _ = net(seen_crops())
    assert (painted.amin(), painted.amax()) == (0, 1)
    heard = []
    net.holes.register_forward_pre_hook(lambda _, told: heard.append(told[0]))
    seen = seen_crops()
    net(seen)
    own, colour = seen[:, 4:5], 2 * seen[:, :3] - 1
    assert torch.allclose(heard[0][:, :3], colour * (0.3 + 0.7 * own), atol=1e-6)
    assert torch.equal(heard[0][:, 4:], own)


def test_a_guide_gives_each_pixel_what_is_known_of_its_part():
    guide = PartGuide(8)
    x = torch.rand(1, 8, 4, 4)
    known = torch.ones(1, 1, 4, 4)
    known[..., 2:] = 0
    with torch.no_grad():
        # The first channel says the part: 1 is the palm, 0 the background.
        guide.parse.weight.zero_()
        guide.parse.weight[1, 0, 1, 1], guide.parse.bias[:] = 200.0, 0
        guide.parse.bias[0] = 100.0
        for conv in (guide.value, guide.mix):
            conv.bias.zero_()
            conv.weight.zero_()
            conv.weight[range(8), range(8), 1, 1] = 1
        x[:, 0] = torch.tensor([1.0, 0, 1, 0])
        out, logits = guide(x, known)
    assert torch.equal(logits.argmax(dim=1)[0, 0], torch.tensor([1, 0, 1, 0]))
    # Column 2 is of column 0's part, 3 of 1's.
    for column in range(4):
        mean = x[0, :, :, column % 2].mean(dim=1, keepdim=True)
        assert torch.allclose(out[0, :, :, column], x[0, :, :, column] + mean, atol=1e-4)
    lost, _ = guide(x, 0 * known)
    assert torch.allclose(lost, x, atol=1e-4)


# Its drop-in for masks.


def whole_boxes(rgb, visible):
    """Take what is seen for visible, and the upper half of the crop for whole."""
    whole = torch.zeros_like(visible[:, 0])
    whole[:, : whole.shape[1] // 2] = 1
    return says(visible[:, 0]), says(whole)


def test_masks_come_back_to_their_places():
    visible = torch.stack([box(8, 20, 16, 16), box(40, 24, 12, 12)])[None].repeat(2, 1, 1, 1)
    visible[1, 1] = 0
    masks = HumanMasks(whole_boxes, resolution_px=64, device=CPU)(torch.rand(2, 3, 64, 64), visible)
    assert masks.presence.round().tolist() == [[1, 1], [1, 0]]
    shown = masks.visible >= 0.5
    assert (shown ^ (visible > 0)).sum(dim=(2, 3)).max() <= 40
    whole = masks.amodal >= 0.5
    # Whole or visible: the answer holds the upper half of the square of 32 px, and what is seen.
    assert (whole | ~shown).all()
    assert whole[0, 0, 14:26, 2:30].all()
    assert not whole[0, 0, 38:].any()
    assert not whole[1, 1].any()


def test_left_hands_are_seen_mirrored():
    rgb = torch.rand(1, 3, 64, 64)
    shape = box(20, 20, 10, 20)
    shape[30:38, 30:40] = 1
    crops = []

    def watch(colours, visible):
        crops.append(torch.cat([colours, visible], dim=1))
        return says(visible[:, 0]), says(visible[:, 0])

    run = HumanMasks(watch, resolution_px=48, device=CPU)
    none = torch.zeros_like(shape)
    right = run(rgb, torch.stack([shape, none])[None])
    left = run(rgb.flip(-1), torch.stack([none, shape.flip(-1)])[None])
    assert torch.allclose(crops[0][0], crops[1][1], atol=1e-5)
    assert torch.allclose(right.amodal[0, 0], left.amodal[0, 1].flip(-1), atol=1e-4)
    with pytest.raises(ShapeError, match="rgb is "):
        run(rgb[:, :2], torch.stack([shape, none])[None])
    with pytest.raises(ShapeError, match="visible is "):
        run(rgb, shape[None, None])


# Parts and templates.


def test_bones_belong_to_palm_and_fingers():
    assert len(BONE_LABELS) == 20
    assert [PARTS[label] for label in BONE_LABELS[:5]] == ["palm", *["thumb"] * 3, "palm"]
    assert {PARTS[label] for label in BONE_LABELS} == {"palm", *FINGERS}
    assert BONE_LABELS.count(1) == 5


def test_pixels_belong_to_the_nearest_bone():
    whole = np.hypot(*(np.indices((64, 64)) - 32)) <= 24
    joints = disc_joints(whole)
    labels = hand_parts(joints, whole)
    assert labels.dtype == np.int64
    assert (labels > 0).tolist() == whole.tolist()
    for name, u, v in ((name, *joints[j]) for j, name in enumerate(JOINTS) if "_tip" in name):
        assert PARTS[labels[round(float(v)), round(float(u))]] == name.split("_")[0]
    u, v = (joints[0] + joints[9]) / 2
    assert PARTS[labels[round(float(v)), round(float(u))]] == "palm"
    # The slow way.
    starts, ends = joints[[0, 9]], joints[[9, 10]]
    assert labels[int(ends[1, 1]), int(ends[1, 0])] == 2 + FINGERS.index("middle")
    assert np.allclose(starts[1], ends[0])
    # All joints on one spot: any part, and no division by nothing.
    assert (hand_parts(np.full((21, 2), 30, np.float32), whole)[whole] > 0).all()
    assert not hand_parts(joints, np.zeros_like(whole)).any()
    with pytest.raises(ShapeError, match="uv_px is"):
        hand_parts(joints[:20], whole)
    with pytest.raises(ShapeError, match="whole is"):
        hand_parts(joints, whole.astype(np.float32))


def test_templates_are_means_of_their_clusters():
    kinds = torch.stack([box(0, 0, 16, 32, 32), box(16, 0, 16, 32, 32), box(0, 8, 32, 4, 32)])
    noise = torch.rand(60, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.1
    masks = kinds.repeat(20, 1, 1) + noise
    centres = cluster_masks(masks, 3, seed=1)
    assert torch.equal(centres, cluster_masks(masks, 3, seed=1))
    for kind in range(3):
        gaps = (centres - masks[kind::3].mean(dim=0)).abs().amax(dim=(1, 2))
        assert gaps.min() < 1e-5
    alike = cluster_masks(masks[:1].repeat(5, 1, 1), 4, seed=0)
    assert torch.allclose(alike, masks[:1].expand(4, -1, -1))
    with pytest.raises(DataError, match="there is no mask to make 4 templates of; name folders"):
        cluster_masks(masks[:0], 4, seed=0)
