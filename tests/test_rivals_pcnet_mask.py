"""PCNet-M: the net, whole masks, and who hides whom on constructed pairs."""

import pytest
import torch
from rival_hands import CPU, TINY_MASK, box, fills_its_box, pair_of, says, seeded

from hdrvideo.errors import SettingsError, ShapeError
from hdrvideo.rivals.pcnet_mask import (
    ORDER_CUT,
    PAPER,
    SMALL,
    WHOLE_CUT,
    PcnetMaskNet,
    PcnetMasks,
    hand_squares,
    recover_order,
    touching,
)
from hdrvideo.rivals.squares import boxes_of, cut, lay_back, masks_from, odds_from

A, B = box(10, 20, 24, 20), box(26, 30, 24, 20)
OVERLAP = A * B


def masks_of(net, visible, **more):
    return PcnetMasks(net, resolution_px=64, device=CPU, **more)(visible)


# The net.


def test_the_published_widths():
    net = PcnetMaskNet(PAPER)
    convs = [m.out_channels for m in net.unet.down.modules() if isinstance(m, torch.nn.Conv2d)]
    assert convs == [32, 32, 64, 64, 128, 128, 256, 256, 256, 256]
    first = next(m for m in net.modules() if isinstance(m, torch.nn.Conv2d))
    assert first.in_channels == 2  # No picture.
    assert (PAPER.resolution_px, SMALL.resolution_px % 16) == (256, 0)


def test_a_batch_gives_what_single_masks_give():
    net = seeded(lambda: PcnetMaskNet(TINY_MASK)).eval()
    told = (torch.rand(3, 2, 32, 48, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    together = net(told)
    assert together.shape == (3, 2, 32, 48)
    for k in range(3):
        assert torch.allclose(net(told[k : k + 1]), together[k : k + 1], atol=1e-5)


def test_gradients_reach_all_of_it():
    net = seeded(lambda: PcnetMaskNet(TINY_MASK))
    told = (torch.rand(2, 2, 32, 32, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    net(told).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
    net(torch.zeros(1, 2, 32, 32)).sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


# Squares.


def test_squares_are_as_released():
    masks = torch.stack([box(10, 20, 24, 20), box(5, 5, 3, 50), torch.zeros(64, 64)]) > 0
    assert boxes_of(masks)[0].tolist() == [21.5, 29.5, 24.0, 20.0]
    squares = hand_squares(masks)
    assert squares[0].tolist() == pytest.approx([21.5, 29.5, (3 * 24 * 20) ** 0.5])
    # Of a long thin hand the side is that of its length.
    assert squares[1, 2].item() == pytest.approx(1.1 * 50)
    assert squares[2].tolist() == pytest.approx([31.5, 31.5, 3**0.5 * 64])


def test_what_is_cut_out_is_laid_back_where_it_was():
    ramp = torch.stack(
        [torch.arange(40.0).expand(30, 40), torch.arange(30.0)[:, None].expand(30, 40)]
    )
    squares = torch.tensor([[20.0, 14.0, 16.0], [11.5, 9.5, 12.0]])
    maps = ramp[None].repeat(2, 1, 1, 1)
    crops = cut(maps, squares, 24)
    # Pixel centres: a crop's middle shows the square's.
    assert torch.allclose(crops[:, :, 11:13, 11:13].mean(dim=(2, 3)), squares[:, :2], atol=1e-4)
    back = lay_back(crops, squares, 30, 40)
    for k, (u, v, side) in enumerate(squares.tolist()):
        rows = slice(int(v - side / 2) + 2, int(v + side / 2) - 1)
        columns = slice(int(u - side / 2) + 2, int(u + side / 2) - 1)
        assert torch.allclose(back[k, :, rows, columns], ramp[:, rows, columns], atol=0.05)
        assert back[k, :, :, : max(int(u - side / 2) - 2, 0)].abs().sum() == 0
    assert cut(maps, torch.tensor([[-50.0, 0.0, 8.0]] * 2), 8).abs().sum() == 0


def test_masks_are_told_as_hasm_tells_them():
    visible = torch.zeros(1, 2, 4, 4)
    visible[0, 0, :2] = 1
    whole = visible.clone()
    whole[0, 0, 2] = 0.7
    masks = masks_from(visible, whole)
    assert torch.allclose(masks.amodal, whole, atol=1e-5)
    assert torch.allclose(masks.visible, visible, atol=1e-5)
    assert masks.presence[0, 0] > 0.99
    assert masks.presence[0, 1] < 0.01
    chance = torch.tensor([0.0, 0.19, 0.2, 0.21, 1.0])
    assert (odds_from(chance, 0.2) >= 0.4999).tolist() == [False, False, True, True, True]


# Who hides whom.


@pytest.mark.parametrize("front", [0, 1])
def test_the_hand_that_grows_into_the_other_lies_behind_it(front):
    said = masks_of(fills_its_box, pair_of(A, B, front))
    behind = 1 - front
    assert said.order[0, behind, front] == -1
    assert said.order[0, front, behind] == 1
    assert said.order[0].diagonal().tolist() == [0, 0]
    assert said.is_hidden[0].tolist() == [behind == 0, behind == 1]
    whole, visible = said.masks.amodal[0] >= 0.5, said.masks.visible[0] >= 0.5
    truth = torch.stack([A, B]) > 0
    # The hidden one is completed (to the pixel rims of its square), the front one as it was seen.
    assert torch.equal(whole[front], truth[front])
    assert (whole[behind] & truth[behind]).sum() >= 0.97 * truth[behind].sum()
    assert (whole[behind] ^ truth[behind]).sum() <= 0.08 * truth[behind].sum()
    assert (visible == (pair_of(A, B, front)[0] > 0)).all()


def test_hands_that_are_apart_or_alone_have_no_order():
    everything = lambda told: says(torch.ones_like(told[:, 0]))  # noqa: E731
    apart = pair_of(box(4, 4, 20, 20), box(26, 4, 20, 20))
    alone = pair_of(A, torch.zeros_like(A))
    for visible in (apart, alone, torch.zeros(1, 2, 64, 64)):
        said = masks_of(everything, visible)
        assert not said.order.any()
        assert torch.equal(said.masks.amodal >= 0.5, visible > 0)
    assert masks_of(everything, alone).masks.presence[0].round().tolist() == [1, 0]


def test_neither_grows_or_both_alike_is_no_order():
    near = pair_of(box(12, 20, 20, 20), box(32, 20, 20, 20))
    as_seen = lambda told: says(told[:, 0])  # noqa: E731
    everything = lambda told: says(torch.ones_like(told[:, 0]))  # noqa: E731
    assert touching(near > 0).tolist() == [True]
    for net in (as_seen, everything):
        assert not masks_of(net, near).order.any()
    grown = torch.tensor([[0.0, 0], [5, 5], [7, 5], [5, 7], [7, 5]])
    order = recover_order(grown, torch.tensor([True, True, True, True, False]))
    assert order[:, 0, 1].tolist() == [0, 0, -1, 1, 0]
    assert torch.equal(order, -order.mT)


def test_only_four_neighbours_touch_and_gaps_can_be_bridged():
    def gap(px, down=0):
        return pair_of(box(10, 20, 10, 10), box(20 + px, 20 + down, 10, 10)) > 0

    found = [touching(gap(0)), touching(gap(1)), touching(gap(0, 10)), touching(gap(0, 9))]
    assert [bool(t) for t in found] == [True, False, False, True]
    assert bool(touching(gap(1), 3))
    assert not bool(touching(gap(3), 3))
    assert bool(touching(gap(2), 5))
    hidden = pair_of(A, B, 0)
    # A net of masks leaves a rim over.
    hidden[0, 1] *= 1 - torch.nn.functional.max_pool2d(A[None], 3, 1, 1)[0]
    assert not masks_of(fills_its_box, hidden).order.any()
    assert masks_of(fills_its_box, hidden, gap_kernel=3).order[0, 1, 0] == -1


def test_growth_is_counted_in_pixels_of_the_picture():
    """A small hand's square shows a large one's neighbourhood magnified."""
    small, large = box(30, 30, 8, 8), box(38, 4, 24, 56)
    share = lambda told: says(0.5 * told[:, 1])  # noqa: E731
    said = masks_of(share, pair_of(small, large))
    # Grown: the large one's pixels in the small one's square, some 3 x 14; the small one's, 64.
    assert said.order[0, 1, 0] == -1


def test_cuts_are_the_released_ones_and_the_answer_is_not_cut_to_the_eraser():
    assert (ORDER_CUT, WHOLE_CUT) == (0.1, 0.2)
    visible = pair_of(A, B, 0)

    def faint(told):
        whole = fills_its_box(told)[:, 1].exp()
        return says(torch.where(told[:, 0] > 0, 1.0, 0.15 * whole))

    said = masks_of(faint, visible)
    # 0.15 tells the order, and is no pixel of the answer.
    assert said.order[0, 1, 0] == -1
    assert torch.equal(said.masks.amodal[0, 1] >= 0.5, visible[0, 1] > 0)
    everything = lambda told: says(0.25 + 0 * told[:, 0])  # noqa: E731
    larger = pair_of(box(4, 4, 10, 60), box(14, 10, 40, 20))
    said = masks_of(everything, larger)
    behind = int(said.is_hidden[0].nonzero()[0])
    outside = (larger[0].sum(dim=0) == 0) & (said.masks.amodal[0, behind] >= 0.5)
    assert outside.any()


def test_of_interlocked_hands_one_wins():
    """A known limit: both are hidden, and one keeps its hole."""
    first, second = box(8, 8, 40, 12), box(8, 30, 40, 12)
    thumb = box(14, 8, 6, 34)
    right = torch.maximum(first, thumb) * (1 - second)
    left = torch.maximum(second, box(36, 8, 6, 34)) * (1 - right)
    said = masks_of(fills_its_box, pair_of(right, left))
    assert said.is_hidden.sum() <= 1


def test_a_batch_of_pairs_is_single_pairs():
    visible = torch.cat([pair_of(A, B, 0), pair_of(A, B, 1), torch.zeros(1, 2, 64, 64)])
    together = masks_of(fills_its_box, visible)
    for k in range(3):
        one = masks_of(fills_its_box, visible[k : k + 1])
        assert torch.equal(one.order[0], together.order[k])
        assert torch.equal(one.masks.whole_logit[0], together.masks.whole_logit[k])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match=r"visible is torch\.float64 \(1, 2, 8, 8\), expected fl"):
        masks_of(fills_its_box, torch.zeros(1, 2, 8, 8, dtype=torch.float64))
    for kernel in (0, 2):
        with pytest.raises(SettingsError, match=f"gap_kernel is {kernel}, expected an odd number"):
            masks_of(fills_its_box, torch.zeros(1, 2, 8, 8), gap_kernel=kernel)
