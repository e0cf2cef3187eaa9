"Every model keeps the contract; the ResNets equal torchvision's; the registry and the weights say what is wrong."
import copy

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import video as tv

from vidcls.clips import VidclsError
from vidcls.models import (Conv3d, InputCard, UnknownModel, VideoModel, WeightsError, count_gflops, create_model, list_models, load_weights, misfits, model_card,
                           model_info, num_params, register_model)
from vidcls.resnet import DEPTHS, VARIANTS, VideoResNet, video_resnet

TORCHVISION = {"r3d_18": 33_371_472, "mc3_18": 11_695_440, "r2plus1d_18": 31_505_325}
NARROW = ["r2plus1d_tiny", "fr2d_tiny"]
CL = torch.channels_last_3d


def clips(batch=2, channels=3, frames=4, size=32, seed=0):
    return torch.rand(batch, channels, frames, size, size, generator=torch.Generator().manual_seed(seed))


def randomise_norms(model):
    "Batch normalisation as after training: fresh statistics would hide swapped or missing ones."
    for m in model.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(m.running_mean, 0, 0.1)
            nn.init.uniform_(m.running_var, 0.5, 1.5)
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, 0, 0.1)
    return model


def states_equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(torch.equal(x, y) for x, y in zip(a.values(), b.values()))


@pytest.fixture(scope="module", params=list_models())
def name(request): return request.param


@pytest.fixture(scope="module")
def trained(name):
    "A model with lived-in statistics; tests that change one take a copy."
    torch.manual_seed(0)
    return randomise_norms(create_model(name, num_classes=5)).eval()


@pytest.fixture
def model(trained): return copy.deepcopy(trained)


# --- the contract, for every model ---

def test_attributes(name, trained):
    assert isinstance(trained, VideoModel)
    assert (trained.num_classes, trained.in_channels) == (5, 3) and trained.num_features > 0
    assert trained.card == model_card(name) == model_info(name).card and isinstance(trained.card, InputCard)
    card = trained.card
    assert card.frames > 0 and card.frame_rate > 0 and card.source and len(card.mean) == len(card.std) == 3
    assert all(c <= r for c, r in zip(card.crop, card.resize))
    assert model_info(name).summary


def test_registered_size_is_the_real_one(name):
    info = model_info(name)
    with torch.device("meta"): model = create_model(name)
    assert num_params(model) == info.params
    assert count_gflops(model, info.card.frames, info.card.crop) == pytest.approx(info.gflops, abs=1e-3)


@torch.no_grad()
def test_shapes(trained):
    x = clips()
    feature_map = trained.forward_features(x)
    assert feature_map.ndim == 5 and feature_map.shape[:2] == (2, trained.num_features)
    features = trained.forward_head(feature_map, pre_logits=True)
    assert features.shape == (2, trained.num_features)
    logits = trained(x)
    assert logits.shape == (2, 5) and logits.isfinite().all()
    assert torch.equal(logits, trained.forward_head(feature_map)) and torch.equal(logits, trained.get_classifier()(features))
    assert not torch.allclose(logits[0], logits[1])


def test_every_parameter_learns(model):
    model.train()
    nn.functional.cross_entropy(model(clips()), torch.tensor([1, 3])).backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]
    assert not dead


@torch.no_grad()
def test_reset_classifier(model):
    x = clips()
    body = model.forward_features(x)
    model.reset_classifier(7)
    assert model.num_classes == 7 and model(x).shape == (2, 7) and model.get_classifier().out_features == 7
    model.reset_classifier(0)
    assert isinstance(model.get_classifier(), nn.Identity) and torch.equal(model(x), model.forward_head(body, pre_logits=True))
    model.reset_classifier(3)
    assert model(x).shape == (2, 3) and torch.equal(model.forward_features(x), body)
    model.bfloat16().reset_classifier(2)
    assert model.get_classifier().weight.dtype == torch.bfloat16
    with pytest.raises(VidclsError, match="num_classes=-1"): model.reset_classifier(-1)


@torch.no_grad()
def test_no_classes_gives_features(name):
    model = create_model(name, num_classes=0).eval()
    assert isinstance(model.get_classifier(), nn.Identity) and model(clips(1)).shape == (1, model.num_features)


def test_save_and_load(name, trained, tmp_path):
    save_file(trained.state_dict(), tmp_path/"w.safetensors")
    assert states_equal(create_model(name, num_classes=5, weights=tmp_path/"w.safetensors"), trained)


def test_weights_of_another_head(name, trained, tmp_path):
    save_file(trained.state_dict(), tmp_path/"w.safetensors")
    with pytest.raises(WeightsError, match=r"2 of another shape .*num_classes=5, then call reset_classifier\(9\)"):
        create_model(name, num_classes=9, weights=str(tmp_path/"w.safetensors"))


@torch.no_grad()
def test_channels_last(trained, model):
    x = clips()
    model = model.to(memory_format=CL)
    feature_map = model.forward_features(x.to(memory_format=CL))
    assert feature_map.is_contiguous(memory_format=CL)
    torch.testing.assert_close(model.forward_head(feature_map), trained(x), rtol=1e-4, atol=1e-4)


def test_bf16_autocast(model):
    model.train().to(memory_format=CL)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(clips().to(memory_format=CL))
        loss = nn.functional.cross_entropy(logits, torch.tensor([0, 4]))
    loss.backward()
    assert logits.dtype == torch.bfloat16 and loss.isfinite()
    assert all(p.dtype == torch.float32 and p.grad.abs().max() < 1e3 for p in model.parameters())


@torch.no_grad()
def test_any_channels_and_frames(name):
    model = create_model(name, num_classes=2, in_channels=2).eval()
    for frames in (1, 3): assert model(clips(1, channels=2, frames=frames)).shape == (1, 2)


def test_wrong_clips(trained):
    for bad in (clips()[0], clips().transpose(1, 2), (clips() * 255).byte()):
        with pytest.raises(VidclsError, match="B,C,T,H,W with C=3"): trained(bad)


@torch.no_grad()
def test_one_graph(model):
    "Nothing in a model makes torch.compile start over."
    x = clips()
    torch.testing.assert_close(torch.compile(model, backend="eager", fullgraph=True)(x), model(x))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu(trained, model):
    model = model.cuda().to(memory_format=CL)
    x = clips()
    with torch.no_grad(): torch.testing.assert_close(model(x.cuda().to(memory_format=CL)).cpu(), trained(x), rtol=5e-2, atol=5e-2)
    model.train().reset_classifier(6)
    with torch.autocast("cuda", dtype=torch.bfloat16): loss = model(x.cuda().to(memory_format=CL)).square().mean()
    loss.backward()
    assert loss.isfinite() and model.get_classifier().weight.is_cuda


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("space", [1, 3])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, CL])
def test_conv_gradients_in_bf16(frames, stride, space, memory_format):
    "Two frames under three taps give garbage in oneDNN 3.13; ours are right for every shape."
    torch.manual_seed(0)
    conv = Conv3d(32, 16, (3, space, space), (stride, 1, 1), (1, space // 2, space // 2), bias=False).to(memory_format=memory_format)
    x = torch.randn(2, 32, frames, 6, 6).contiguous(memory_format=memory_format).requires_grad_()
    junk = [torch.full((2**k,), 3e36) for k in range(8, 20)] # what uninitialised memory would hold
    del junk
    pairs = []
    for bf16 in (False, True):
        conv.weight.grad = x.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16): y = conv(x)
        y.float().backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(0)))
        pairs.append((y.detach().float(), conv.weight.grad, x.grad))
    for exact, rounded in zip(*pairs): assert (rounded - exact).abs().max() < 0.03 * exact.abs().max()


# --- the ResNets ---

@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_parity(name):
    torch.manual_seed(0); theirs = getattr(tv, name)()
    torch.manual_seed(0); ours = create_model(name)
    assert states_equal(ours, theirs), "the same seed draws the same weights"
    assert num_params(ours) == TORCHVISION[name]
    ours.load_state_dict(randomise_norms(theirs).state_dict(), strict=True)
    for training in (False, True):
        x = clips(seed=1) * 4 - 2
        a, b = ours.train(training)(x), theirs.train(training)(x)
        assert a.abs().max() > 0.1 and (a - b).abs().max() <= 1e-5
    assert states_equal(ours, theirs), "running statistics move alike"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_zero_init_residual(variant, depth):
    net = video_resnet(variant, depth, widths=(4, 8, 8, 8), num_classes=2, zero_init_residual=True)
    blocks = [b for stage in net.stages for b in getattr(net, stage)]
    assert len(blocks) == sum(DEPTHS[depth])
    assert not any(b.last_norm.weight.any() for b in blocks)
    x = torch.rand(1, 4, 4, 8, 8)
    assert torch.equal(net.layer1(x), x)
    plain = video_resnet(variant, depth, widths=(4, 8, 8, 8), num_classes=2)
    assert all(b.last_norm.weight.all() for stage in plain.stages for b in getattr(plain, stage))


@pytest.mark.parametrize("layers,block_rule,conv_rule", [((2, 2, 2, 2), 31.51, 33.37), ((3, 4, 6, 3), 61.83, 63.70)])
def test_both_rules_for_mid_planes(layers, block_rule, conv_rule):
    with torch.device("meta"):
        counts = [num_params(video_resnet("r2plus1d", 18, layers=layers, mid_per_conv=rule)) / 1e6 for rule in (False, True)]
    assert counts == pytest.approx([block_rule, conv_rule], abs=0.01)


@torch.no_grad()
@pytest.mark.parametrize("size", [32, 48, 64])
@pytest.mark.parametrize("name", NARROW)
def test_narrow_ones_leave_a_map(name, size):
    height, width = create_model(name).eval().forward_features(clips(1, size=size)).shape[3:]
    assert height == width == -(-size // 16) >= 2


def test_fr2d_sees_one_frame_at_a_time():
    torch.manual_seed(0)
    net = randomise_norms(create_model("fr2d_tiny", num_classes=3)).eval()
    x = clips(1).requires_grad_()
    feature_map = net.forward_features(x)
    assert feature_map.shape[2] == x.shape[2]
    for t in range(x.shape[2]):
        grad, = torch.autograd.grad(feature_map[:, :, t].sum(), x, retain_graph=True)
        reached = grad.abs().sum((0, 1, 3, 4)).nonzero().flatten().tolist()
        assert reached == [t]


@torch.no_grad()
def test_order_of_frames():
    "It means nothing to f-R2D, and something to R(2+1)D."
    torch.manual_seed(0)
    x, order = clips(frames=8), torch.tensor([5, 2, 7, 0, 3, 6, 1, 4])
    plain, moving = (randomise_norms(create_model(n, num_classes=3)).eval() for n in ("fr2d_tiny", "r2plus1d_tiny"))
    torch.testing.assert_close(plain(x[:, :, order]), plain(x), rtol=1e-5, atol=1e-6)
    assert (moving(x[:, :, order]) - moving(x)).abs().max() > 1e-2


def test_builder_keywords():
    net = create_model("r2plus1d_18", widths=(4, 8, 12, 16), layers=(1, 1, 2, 1), stem_stride=1, num_classes=2)
    assert (net.num_features, len(net.layer3)) == (16, 2)
    assert net.stem(clips(1)).shape == (1, 4, 4, 32, 32)
    with pytest.raises(VidclsError, match="n widths and 1 \\+ n convs out of 3d, 2d"): VideoResNet(widths=(4, 8))
    with pytest.raises(VidclsError, match="'4d'"): VideoResNet(convs=("4d",) * 5)


# --- registry and weights ---

def test_names():
    assert set(TORCHVISION) | set(NARROW) <= set(list_models())
    assert list_models("r2plus1d*")[:2] == ["r2plus1d_tiny", "r2plus1d_18"]
    assert list_models("nothing*") == []


@pytest.mark.parametrize("wrong,near", [("r2plus1d18", "r2plus1d_18"), ("R3D_18", "r3d_18"), ("mc_18", "mc3_18")])
def test_unknown_name(wrong, near):
    for ask in (create_model, model_card, model_info):
        with pytest.raises(UnknownModel) as e: ask(wrong)
        assert isinstance(e.value, VidclsError)
        assert repr(wrong) in str(e.value) and near in str(e.value) and "list_models()" in str(e.value)
    with pytest.raises(UnknownModel) as e: create_model("zzz")
    assert "nearest" not in str(e.value)


def test_a_module_cannot_take_a_name():
    def r3d_18(**kwargs): return VideoResNet(**kwargs)
    with pytest.raises(VidclsError, match="'r3d_18' of .*test_models is taken by vidcls.resnet"): register_model(model_card("r3d_18"))(r3d_18)


def test_misfits(tmp_path):
    net = create_model("fr2d_tiny", num_classes=2)
    assert misfits(net, net.state_dict()) == ""
    state = {k: v for k, v in net.state_dict().items() if not k.startswith("layer3")} | {"extra": torch.zeros(1), "stem.0.weight": torch.zeros(16, 1, 1, 7, 7)}
    wrong = misfits(net, state)
    assert "missing (layer3.0.conv1.0.weight" in wrong and "more)" in wrong
    assert "1 unexpected (extra)" in wrong and "1 of another shape (stem.0.weight is 16x1x1x7x7, not 16x3x1x7x7)" in wrong
    before = copy.deepcopy(net)
    save_file(state, tmp_path/"w.safetensors")
    with pytest.raises(WeightsError, match="create the model with the name and arguments"): load_weights(net, tmp_path/"w.safetensors")
    assert states_equal(net, before), "a refused file changes nothing"


def test_unreadable_weights(tmp_path):
    torch.save({}, tmp_path/"w.pth")
    for path in (tmp_path/"w.pth", tmp_path/"none.safetensors", tmp_path, "DEFAULT"):
        with pytest.raises(WeightsError, match="cannot be read as a safetensors file"): create_model("fr2d_tiny", weights=path)
