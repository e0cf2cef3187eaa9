"Every model keeps the contract; the ResNets equal torchvision's and the paper's; the registry says what is wrong."
import copy

import pytest
import torch
from torch import nn
from torchvision.models import video as tv

from vidcls.clips import VidclsError
from vidcls.models import (Conv3d, InputCard, UnknownModel, VideoModel, WeightsError, count_gflops, create_model, guess_model, list_models, load_weights, misfits, model_card,
                           model_info, num_params, register_model, save_weights)
from vidcls.resnet import DEPTHS, VARIANTS, VideoResNet, video_resnet

TORCHVISION = {"r3d_18": 33_371_472, "mc3_18": 11_695_440, "r2plus1d_18": 31_505_325}
TINY = ["r2plus1d_tiny", "fr2d_tiny"]
GRAPHS = ["r2plus1d_tiny", "r2d_18", "mc3_18", "rmc4_26", "ir_csn_26", "ip_csn_26", "s3d", "mvit_v1_b", "swin3d_t"] # one of each kind
TRANSFORMERS = ["mvit_v1_b", "mvit_v2_s", "swin3d_t", "swin3d_s", "swin3d_b"]
CL = torch.channels_last_3d


def small(name, **kwargs):
    "A model of the registry for small clips; ResNets with few channels, which changes nothing else."
    if model_info(name).build.__module__ == "vidcls.resnet" and name not in TINY: kwargs = {"widths": (8, 8, 16, 16), **kwargs}
    clip = (4, 64, 64) if name.startswith("mvit") else (4, 32, 32) # on a map of one position, its relative ones mean nothing
    model = create_model(name, clip=clip if model_info(name).sized else None, **kwargs)
    model.shape = tuple(max(n, 2 * least if space and "csn" in name else least) for space, (n, least) in enumerate(zip(clip, model.min_clip)))
    return model


def clips(batch=2, channels=3, frames=4, size=32, seed=0):
    return torch.rand(batch, channels, frames, size, size, generator=torch.Generator().manual_seed(seed))


def clips_for(model, batch=2): return torch.rand(batch, model.in_channels, *model.shape, generator=torch.Generator().manual_seed(0))


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
    return randomise_norms(small(name, num_classes=5)).eval()


@pytest.fixture
def model(trained): return copy.deepcopy(trained)


# --- the contract, for every model ---

def test_attributes(name, trained):
    assert isinstance(trained, VideoModel) and trained.name == name
    assert (trained.num_classes, trained.in_channels) == (5, 3) and trained.num_features > 0
    assert trained.card == model_card(name) == model_info(name).card and isinstance(trained.card, InputCard)
    card = trained.card
    assert card.frames > 0 and card.frame_rate > 0 and card.source and len(card.mean) == len(card.std) == 3
    assert len(card.resize) in (1, 2) and len(card.crop) == 2 and all(c <= r for c, r in zip(card.crop, card.resize * 2))
    assert model_info(name).summary
    for p in model_info(name).published: assert 0 < p.top1 < 100 and (p.top5 is None or p.top1 < p.top5) and p.protocol and p.source and p.dataset and p.weights


def test_registered_size_is_the_real_one(name):
    info = model_info(name)
    with torch.device("meta"): model = create_model(name)
    assert num_params(model) == info.params
    assert count_gflops(model, info.card.frames, info.card.crop) == pytest.approx(info.gflops, abs=1e-3)
    model.check_clip(info.card.frames, *info.card.crop)
    assert name in guess_model(model.state_dict()) or name.endswith("_tiny")


def test_stages_hold_every_parameter_once(trained):
    homes = [[stage for stage in (*trained.stages, trained.classifier) if key.startswith(f"{stage}.")] for key, _ in trained.named_parameters()]
    homes = [h or [stage for stage in trained.stages if key == stage] for h, (key, _) in zip(homes, trained.named_parameters())]
    assert all(len(h) == 1 for h in homes), "each parameter belongs to one stage"
    order = [(*trained.stages, trained.classifier).index(h[0]) for h in homes]
    assert set(order) == set(range(len(trained.stages) + 1)), "no stage is empty"


@torch.no_grad()
def test_stages_stand_in_the_order_in_which_a_clip_passes_them(trained):
    "Freezing and layer decay count on it."
    passed, parts = [], dict(trained.named_modules())
    hooks = [parts[stage].register_forward_pre_hook(lambda m, x, stage=stage: passed.append(stage)) for stage in trained.stages]
    trained(clips_for(trained, 1))
    for hook in hooks: hook.remove()
    assert passed == list(trained.stages)


@torch.no_grad()
def test_shapes(trained):
    x = clips_for(trained)
    features = trained.forward_features(x)
    assert features.ndim == 5 and features.shape[:2] == (2, trained.num_features) or features.ndim == 3 and features.shape[::2] == (2, trained.num_features)
    pooled = trained.forward_head(features, pre_logits=True)
    assert pooled.shape == (2, trained.num_features)
    logits = trained(x)
    assert logits.shape == (2, 5) and logits.isfinite().all()
    assert torch.equal(logits, trained.forward_head(features)) and torch.equal(logits, trained.get_classifier()(pooled))
    assert not torch.equal(logits[0], logits[1])


def test_every_parameter_learns(model):
    model.train(model.name not in TRANSFORMERS) # in training these leave out whole layers, at random
    nn.functional.cross_entropy(model(clips_for(model)), torch.tensor([1, 3])).backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]
    if model.name == "mvit_v2_s": dead = [n for n in dead if not n.startswith(("blocks.15.attn.rel_pos", "blocks.15.attn.pool_q"))] # only the class token comes out, and these are the other tokens'
    assert not dead


@torch.no_grad()
def test_reset_classifier(model):
    x = clips_for(model)
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


def test_save_load_and_a_new_head(name, trained, tmp_path, capsys):
    save_weights(trained, tmp_path/"w.safetensors", classes="abcde")
    same = create_model(name, weights=tmp_path/"w.safetensors")
    assert states_equal(same, trained) and same.classes == tuple("abcde") and same.kwargs == trained.kwargs
    assert "note" not in capsys.readouterr().err
    other = create_model(name, num_classes=9, weights=tmp_path/"w.safetensors")
    assert "classify 5 classes; the head for 9 is new" in capsys.readouterr().err
    before, head = trained.state_dict(), f"{other.classifier}."
    assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items() if not k.startswith(head))
    assert other.get_classifier().out_features == 9 and other.classes == ()
    features = create_model(name, num_classes=0, weights=tmp_path/"w.safetensors")
    assert isinstance(features.get_classifier(), nn.Identity)


@torch.no_grad()
def test_channels_last(trained, model):
    x = clips_for(model)
    model, threads = model.to(memory_format=CL), torch.get_num_threads()
    torch.set_num_threads(2) # with one, PyTorch takes another way for maps as small as these, which knows no memory format
    try: features = model.forward_features(x.to(memory_format=CL))
    finally: torch.set_num_threads(threads)
    if model_info(model.name).build.__module__ in ("vidcls.resnet", "vidcls.s3d"): assert features.is_contiguous(memory_format=CL)
    logits = trained(x)
    assert (model.forward_head(features) - logits).abs().max() < 1e-4 * max(1, logits.abs().max())


def test_bf16_autocast(model):
    model.train().to(memory_format=CL)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(clips_for(model).to(memory_format=CL))
        loss = nn.functional.cross_entropy(logits, torch.tensor([0, 4]))
    loss.backward()
    assert logits.dtype == torch.bfloat16 and loss.isfinite()
    assert all(p.dtype == torch.float32 and p.grad.abs().max() < 1e6 for p in model.parameters()), "uninitialised memory would give anything"


def test_wrong_clips(trained):
    x = clips_for(trained)
    for bad in (x[0], x.transpose(1, 2), (x * 255).byte()):
        with pytest.raises(VidclsError, match="B,C,T,H,W with C=3"): trained(bad)
    if max(trained.min_clip) > 1 or trained.fixed_clip:
        with pytest.raises(VidclsError, match=f"too small for {trained.name}: its strides need at least|{trained.name} was built for clips of"): trained(x[..., :1, :1])


@torch.no_grad()
@pytest.mark.parametrize("name", GRAPHS)
def test_one_graph(name):
    "Nothing in a model makes torch.compile start over."
    torch.manual_seed(0)
    model = randomise_norms(small(name, num_classes=5)).eval()
    x = clips_for(model)
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(model, backend="eager", fullgraph=True)(x), model(x))


@torch.no_grad()
@pytest.mark.parametrize("name", [n for n in list_models("*_18") + list_models("*_26") if not n.startswith("r2d")])
def test_any_channels_and_frames(name):
    model = small(name, num_classes=2, in_channels=2).eval()
    for frames in (1, 3): assert model(clips(1, channels=2, frames=frames)).shape == (1, 2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu(trained, model):
    model = model.cuda().to(memory_format=CL)
    x = clips_for(model)
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


@pytest.mark.parametrize("variant,depth", [("r2d", 10), ("fr2d", 16), ("mc2", 18), ("rmc5", 26), ("r3d", 34), ("r2plus1d", 26), ("r2plus1d", 34), ("ir_csn", 26), ("ip_csn", 50)])
def test_zero_init_residual(variant, depth):
    net = video_resnet(variant, depth, widths=(4, 8, 8, 8), num_classes=2, zero_init_residual=True, clip=(4, 32, 32))
    blocks = [b for stage in net.stages[1:] for b in getattr(net, stage)]
    assert len(blocks) == sum(DEPTHS[depth][1])
    assert not any(b.last_norm.weight.any() for b in blocks)
    n = 4 * blocks[0].expansion
    x = torch.rand(1, n, 4, 8, 8)
    assert torch.equal(net.layer1[1:](x), x) and (blocks[0].downsample is not None or torch.equal(net.layer1(x), x))
    plain = video_resnet(variant, depth, widths=(4, 8, 8, 8), num_classes=2, clip=(4, 32, 32))
    assert all(b.last_norm.weight.all() for stage in plain.stages[1:] for b in getattr(plain, stage))


TABLE_2 = {"r2d": (11.4, 2.2), "fr2d": (11.4, 27.6), "r3d": (33.4, 40.7), "mc2": (11.4, 28.5), "mc3": (11.7, 43.3), "mc4": (12.7, 40.0), "mc5": (16.9, 39.9), "rmc2": (33.3, 39.8),
           "rmc3": (33.0, 25.0), "rmc4": (32.0, 29.1), "rmc5": (27.9, 30.8), "r2plus1d": (33.3, 41.5)} # the paper's millions of parameters; VMZ's GFLOPs for 16 frames


@pytest.mark.parametrize("variant", TABLE_2)
def test_table_2_of_the_paper(variant):
    "Parameters to the last digit that the paper tells, which cuts or rounds; GFLOPs rounded. R2D has its 11.4 million with 8 frames, VMZ's GFLOPs are for 16."
    name = "r2plus1d_18_paper" if variant == "r2plus1d" else f"{variant}_18"
    params, gflops = TABLE_2[variant]
    with torch.device("meta"): model, counted = create_model(name), create_model(name, clip=(8, 112, 112))
    assert params in (round(num_params(counted) / 1e6, 1), int(num_params(counted) / 1e5) / 10)
    assert count_gflops(model, 16, (112, 112)) == pytest.approx(gflops, abs=0.0501)
    if variant not in ("r3d", "mc3"): assert all(m.eps == 1e-3 and m.momentum == 0.1 for m in model.modules() if isinstance(m, nn.BatchNorm3d))


@pytest.mark.parametrize("name,frames,size,params,gflops", [("r2plus1d_34", 8, 128, 63.6, 49.8), ("r2plus1d_34", 32, 128, 63.6, 199.0), ("r2plus1d_152", 32, 128, 118.0, 329.1),
                                                            ("ir_csn_152", 32, 256, 29.6, 96.7), ("ip_csn_152", 32, 256, 32.8, 108.8)])
def test_deep_models_of_vmz(name, frames, size, params, gflops):
    "VMZ counts convolutions and the classifier, not the norms, and multiply-adds at the size it tests at."
    with torch.device("meta"): model = create_model(name)
    norms = sum(num_params(m) for m in model.modules() if isinstance(m, nn.BatchNorm3d))
    assert params == pytest.approx((num_params(model) - norms) / 1e6, abs=0.0501)
    assert count_gflops(model, frames, (size, size)) == pytest.approx(gflops, abs=0.0511)


@pytest.mark.parametrize("layers,block_rule,conv_rule", [((2, 2, 2, 2), 31.51, 33.37), ((3, 4, 6, 3), 61.83, 63.70)])
def test_both_rules_for_mid_planes(layers, block_rule, conv_rule):
    with torch.device("meta"):
        counts = [num_params(video_resnet("r2plus1d", 18, layers=layers, mid_per_conv=rule)) / 1e6 for rule in (False, True)]
    assert counts == pytest.approx([block_rule, conv_rule], abs=0.01)


@torch.no_grad()
@pytest.mark.parametrize("size", [32, 48, 64])
@pytest.mark.parametrize("name", TINY)
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
    assert set(TORCHVISION) | set(TINY) | {f"{v}_{d}" for v in VARIANTS for d in DEPTHS if "csn" not in v or d in (26, 50, 101, 152)} <= set(list_models())
    assert list_models("r2plus1d*")[:4] == ["r2plus1d_10", "r2plus1d_16", "r2plus1d_18", "r2plus1d_18_paper"]
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
