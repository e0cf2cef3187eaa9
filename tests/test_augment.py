"Augmentation over many settings: what is off changes nothing, and chance is a clip's own."
import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from vidcls.augment import OPERATIONS, ClipAugment, check_scales, erased_boxes, mix_clips, operate, pair_mixes, random_operations, scale_windows
from vidcls.clips import VidclsError
from vidcls.transforms import ClipTransform

MEAN, STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
SEEDS = np.array([3, 2**62, 17, 4, 99])
EXTRAS = dict(scales=dict(scales=(34, 40)), rand_augment=dict(rand_augment=2, magnitude=12.5), erasing=dict(random_erasing=0.6),
              all=dict(scales=(32, 40), rand_augment=3, magnitude=30., random_erasing=0.5))


def noise(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def transform(**settings):
    return ClipAugment((32, 24), MEAN, STD, train=True, **settings)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("off", [{}, dict(magnitude=30.), dict(scales=(40, 40)), dict(scales=(40, 40), rand_augment=1, magnitude=0.)])
def test_off_is_clip_transform(off, channels_last):
    frames = noise(5, 4, 40, 52, 3)
    want = ClipTransform((32, 24), MEAN, STD, train=True, channels_last=channels_last)(frames, SEEDS)
    got = transform(channels_last=channels_last, **off)(frames, SEEDS)
    # at magnitude 0 all operations but two leave a clip as it is, up to the rounding of grey levels
    same = [ops[0][0] not in ("AutoContrast", "Equalize", "Solarize", "Sharpness") for ops in random_operations(SEEDS, 1)] if off.get("rand_augment") else [True] * 5
    assert any(same) and torch.equal(got[same], want[same]) and got.stride() == want.stride()


@pytest.mark.parametrize("extras", EXTRAS)
def test_a_clip_is_its_own(extras):
    "Neither batch nor layout nor target memory nor PyTorch's generator plays a part."
    frames, t = noise(5, 4, 40, 52, 3), transform(**EXTRAS[extras])
    x, plain = t(frames, SEEDS), ClipTransform((32, 24), MEAN, STD, train=True)(frames, SEEDS)
    assert x.shape == plain.shape and x.dtype == torch.float32 and x.stride() == plain.stride() and not torch.equal(x, plain)
    state = torch.get_rng_state()
    for rows in ([0], [4], [3, 1], [4, 3, 2, 1, 0]): assert torch.equal(t(frames[rows], SEEDS[rows]), x[rows])
    assert torch.equal(torch.get_rng_state(), state)
    planar = frames.permute(0, 1, 4, 2, 3).contiguous().permute(0, 1, 3, 4, 2)
    out = torch.empty_like(x)
    assert t(planar, SEEDS, out=out) is out and torch.equal(out, x)
    assert not torch.equal(t(frames, SEEDS + 1), x)
    assert torch.equal(ClipAugment((32, 24), MEAN, STD, **EXTRAS[extras])(frames), ClipTransform((32, 24), MEAN, STD)(frames))  # evaluation


@pytest.mark.parametrize("extras", EXTRAS)
def test_all_frames_alike(extras):
    still = noise(5, 1, 40, 52, 3).expand(-1, 6, -1, -1, -1)
    for k in range(6):
        x = transform(**EXTRAS[extras])(still, SEEDS + k)
        assert torch.equal(x, x[:, :, :1].expand_as(x))


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("size", [(32, 47), (331, 20)])
def test_operation_is_torchvisions(name, size):
    "On a picture; on a clip too, but for the three that measure before they change."
    theirs, picture = v2.RandAugment(), noise(1, 3, *size)
    clip = torch.cat([picture, noise(2, 3, *size, seed=1) // 2])
    strengths = theirs._AUGMENTATION_SPACE[name][0](31, *size)
    for m in (0, 1, 4, 9, 11, 20, 30):
        for sign in (1, -1)[:1 + OPERATIONS[name][2]]:
            want = lambda x: theirs._apply_image_or_video_transform(x, name, 0. if strengths is None else sign * float(strengths[m]), theirs.interpolation, theirs._fill)
            assert torch.equal(operate(picture, name, sign * m), want(picture))
            assert torch.equal(operate(clip, name, sign * m), want(clip)) or name in ("Contrast", "AutoContrast", "Equalize")
            tall = want(clip.transpose(0, 1).flatten(1, 2)) if name in ("Contrast", "AutoContrast", "Equalize") else None
            assert tall is None or torch.equal(operate(clip, name, sign * m).transpose(0, 1).flatten(1, 2), tall)


def test_shares():
    seeds = np.arange(8000)
    sides = np.rint(40 * 32 / scale_windows(seeds, (40, 52), (32, 24), (32, 40))[:, 0]).astype(int)
    assert set(sides) == set(range(32, 41)) and np.bincount(sides)[32:].min() > 8000 / 9 * 0.85
    assert abs((erased_boxes(seeds, 0.3, (32, 24))[:, 2] > 0).mean() - 0.3) < 0.02
    frames = torch.full((400, 1, 40, 52, 3), 255, dtype=torch.uint8)
    erased = (transform(random_erasing=0.3)(frames, seeds[:400]) == 0).flatten(1).any(1)
    assert np.array_equal(erased.numpy(), erased_boxes(seeds[:400], 0.3, (32, 24))[:, 2] > 0)
    names = [name for (name, _), in random_operations(seeds, 1)]
    assert min(names.count(name) for name in OPERATIONS) > 8000 / 14 * 0.8


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1., 8.])
def test_beta(alpha):
    keeps = np.array([keep for keep, _ in pair_mixes(np.arange(8000), (32, 24), alpha, 0.)])
    assert abs(keeps.mean() - 0.5) < 0.03 and abs(keeps.var() - 0.25 / (2 * alpha + 1)) < 0.01


@pytest.mark.parametrize("how", [dict(mixup=0.3), dict(cutmix=1.), dict(mixup=0.3, cutmix=1.), dict(mixup=0.3, label_smoothing=0.1)])
def test_mixed_pairs(how):
    x, y, seeds = torch.randn(7, 3, 4, 12, 10), torch.tensor([0, 1, 2, 2, 3, 0, 1]), np.arange(7) * 10**9
    m, soft = mix_clips(x.clone(), y, seeds, 4, **how)
    e = how.get("label_smoothing", 0)
    hard = torch.nn.functional.one_hot(y, 4) * (1 - e) + e / 4
    for k, (keep, box) in enumerate(pair_mixes(seeds, (12, 10), how.get("mixup", 0.), how.get("cutmix", 0.))):
        for a, b in ((2 * k, 2 * k + 1), (2 * k + 1, 2 * k)):
            torch.testing.assert_close(soft[a], (keep * hard[a] + (1 - keep) * hard[b]).float())
            if box is None: torch.testing.assert_close(m[a], keep * x[a] + (1 - keep) * x[b])
            else:
                at = torch.zeros(12, 10, dtype=torch.bool)
                at[box[0]:box[0] + box[2], box[1]:box[1] + box[3]] = True
                assert torch.equal(m[a], torch.where(at, x[b], x[a])) and abs(keep - (1 - at.float().mean())) < 1e-6
    assert torch.equal(m[6], x[6]) and torch.allclose(soft[6], hard[6].float())
    for rows in (slice(2, 4), slice(4, 7)):
        part, shares = mix_clips(x[rows].clone(), y[rows], seeds[rows], 4, **how)
        assert torch.equal(part, m[rows]) and torch.equal(shares, soft[rows])


def test_loss_of_smoothed_targets():
    logits, y = torch.randn(6, 5), torch.tensor([0, 4, 2, 2, 1, 3])
    x, soft = mix_clips(torch.zeros(6, 3, 1, 2, 2), y, range(6), 5, label_smoothing=0.2)
    torch.testing.assert_close(torch.nn.functional.cross_entropy(logits, soft), torch.nn.functional.cross_entropy(logits, y, label_smoothing=0.2))


@pytest.mark.parametrize("size, crop, scales, words", [
    ((40, 52), (32, 24), (32, 41), "up to 41 are more than the 40"), ((52, 40), (32, 24), (32, 41), "up to 41"), ((40, 52), (32, 24), (31, 40), "shorter side of 31"),
    ((40, 52), (24, 48), (32, 40), "24x48 does not fit"), ((40, 52), (32, 24), (40, 34), "no range"), ((40, 52), (32, 24), (0, 40), "no range")])
def test_scales_that_are_none(size, crop, scales, words):
    with pytest.raises(VidclsError, match=words): check_scales(size, crop, scales)
    with pytest.raises(VidclsError, match=words): ClipAugment(crop, MEAN, STD, train=True, scales=scales)(noise(1, 1, *size, 3), [1])


@pytest.mark.parametrize("wrong", [dict(rand_augment=-1), dict(magnitude=-1.), dict(magnitude=30.5), dict(random_erasing=-0.1), dict(random_erasing=1.1)])
def test_settings_that_are_none(wrong):
    with pytest.raises(VidclsError, match="give"): transform(**wrong)
    with pytest.raises(VidclsError, match="no operation 'Invert'; its operations are Identity"): operate(noise(1, 3, 8, 8), "Invert", 9)
    for mix in (dict(mixup=-1.), dict(cutmix=-1.), dict(label_smoothing=1.), dict(label_smoothing=-0.1)):
        with pytest.raises(VidclsError): mix_clips(torch.zeros(2, 3, 1, 4, 4), torch.tensor([0, 1]), [1, 2], 2, **mix)
