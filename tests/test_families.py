"S3D and torchvision's transformers equal torchvision's; anybody else's networks keep the contract, or it is said what is wrong."
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers: what is not on this disk is not there

import pytest
import torch
from torch import nn
from torchvision.models import get_model_weights
from torchvision.models import video as tv

import vidcls.s3d
import vidcls.torchvision_models as ours
from vidcls.clips import VidclsError
from vidcls.models import Conv3d, InputCard, count_gflops, num_params
from vidcls.others import FOREIGN_CARD, Adopted, adopt, build_from_path, build_hf, foreign_info
from vidcls.s3d import S3D
from vidcls.weights import WeightsError

FAMILIES = {"s3d": vidcls.s3d.s3d, **{name: getattr(ours, name) for name in ("mvit_v1_b", "mvit_v2_s", "swin3d_t", "swin3d_s", "swin3d_b")}}
CARDS = {name: vidcls.s3d.S3D_CARD if name == "s3d" else ours.MVIT_CARD if name.startswith("mvit") else ours.SWIN_CARD for name in FAMILIES}


def info(name):
    from vidcls import models
    return models._REGISTRY[name]


def lively(net, seed=0):
    "Weights and statistics as after training: fresh ones would hide a swap."
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, value in net.state_dict().items():
            if "running_var" in key or (key.endswith("weight") and value.ndim == 1): value.uniform_(0.5, 1.5, generator=generator)
            elif value.is_floating_point() and value.ndim == 1: value.normal_(0, 0.1, generator=generator)
    return net


# --- as torchvision has them ---

@pytest.mark.parametrize("name", FAMILIES)
def test_sizes_and_keys(name):
    with torch.device("meta"): model, theirs = FAMILIES[name](num_classes=400), getattr(tv, name)()
    if name != "s3d": assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    meta = get_model_weights(name).DEFAULT.meta
    assert num_params(model) == info(name).params == meta["num_params"]
    assert count_gflops(model, 16, (224, 224)) == pytest.approx(meta["_ops"], abs=1e-3), "torchvision's figure is for 16 frames"
    assert info(name).gflops == pytest.approx(meta["_ops"] * CARDS[name].frames / 16, rel=1e-3), "that of the registry is for the card's clip"


@pytest.mark.parametrize("name", FAMILIES)
def test_cards_and_accuracies(name):
    card, published = info(name).card, {p.weights: p for p in info(name).published}
    assert card is CARDS[name] and set(published) == {w.name for w in get_model_weights(name)}
    for weights in get_model_weights(name):
        preset, says, metrics = weights.transforms(), weights.meta["_docs"], weights.meta["_metrics"]["Kinetics-400"]
        p = published[weights.name]
        assert (p.top1, p.top5) == (metrics["acc@1"], metrics["acc@5"])
        assert (tuple(preset.mean), tuple(preset.std), tuple(preset.resize_size), tuple(preset.crop_size)) == (card.mean, card.std, card.resize, card.crop)
        level = "clip level" if "clip-level" in says else "video level"
        clips, frames, rate = (says.split(f"`{key}=")[1].split("`")[0] for key in ("clips_per_video", "clip_len", "frame_rate"))
        assert p.protocol.startswith(f"{level}: {clips} clip") and f"of {frames} frames at {rate} frames/s" in p.protocol and float(rate) == card.frame_rate


def test_s3d_is_torchvisions():
    torch.manual_seed(0); theirs = tv.s3d(num_classes=7, dropout=0.3)
    torch.manual_seed(0); model = S3D(num_classes=7, dropout=0.3)
    same = {k.replace("classifier.1", "fc"): v for k, v in theirs.state_dict().items()}
    assert list(same) == list(model.state_dict()) and all(torch.equal(v.flatten(), same[k].flatten()) for k, v in model.state_dict().items())
    lively(model); lively(theirs)
    x = torch.rand(2, 3, 13, 33, 35, generator=torch.Generator().manual_seed(1))
    feature_map = torch.randn(2, 1024, 5, 7, 7, generator=torch.Generator().manual_seed(2))
    for training in (True, False):
        model.train(training); theirs.train(training)
        with torch.no_grad():
            a, b = model.forward_features(x), theirs.features(x)
            assert a.abs().max() > 0.1 and torch.allclose(a, b, atol=1e-5)
            torch.manual_seed(3); a = model.forward_head(feature_map)
            torch.manual_seed(3); b = theirs.classifier(theirs.avgpool(feature_map)).mean((2, 3, 4))
            assert torch.allclose(a, b, atol=1e-5), "windows, dropout on each, and their mean"
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(model.features.buffers(), theirs.features.buffers())), "statistics move alike"


@torch.no_grad()
def test_s3d_takes_every_clip_from_the_smallest():
    model = S3D(2, in_channels=2).eval()
    assert model.min_clip == (5, 17, 17)
    for size in (model.min_clip, (6, 40, 17), (14, 18, 30)): assert model(torch.rand(1, 2, *size)).shape == (1, 2)
    for size in ((4, 32, 32), (8, 16, 32), (8, 32, 16)):
        with pytest.raises(VidclsError, match="at least 5x17x17"): model(torch.rand(1, 2, *size))


def same_positions(theirs, model, size):
    "torchvision builds MViT for 16x224x224 alone."
    if "swin" in type(model).__name__.lower(): return theirs
    if theirs.pos_encoding.spatial_pos is not None: theirs.pos_encoding = model.pos_encoding
    theirs.pos_encoding.temporal_size, theirs.pos_encoding.spatial_size = size[0] // 2, (size[1] // 4, size[2] // 4)
    return theirs


@torch.no_grad()
@pytest.mark.parametrize("name,size", [("mvit_v1_b", (4, 64, 96)), ("mvit_v2_s", (8, 64, 96)), ("swin3d_t", (5, 70, 45))])
def test_transformers_are_torchvisions(name, size):
    torch.manual_seed(0); theirs = getattr(tv, name)(num_classes=5)
    torch.manual_seed(0); model = FAMILIES[name](num_classes=5)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), theirs.state_dict().values(), strict=True)), "the same seed draws the same weights"
    if model.fixed_clip: model = FAMILIES[name](num_classes=5, clip=size)
    own = {k: v for k, v in model.state_dict().items() if model.fixed_clip and k.startswith("pos_encoding")}
    model.load_state_dict(lively(theirs).state_dict() | own)
    model, theirs = model.eval(), same_positions(theirs.eval(), model, size)
    x = torch.rand(2, 3, *size)
    a, b = model(x), theirs(x)
    assert a.std() > 0.01 and (a - b).abs().max() < 1e-5
    for clip in ((4, 64, 64), (6, 32, 64)):
        if not model.fixed_clip: assert model(torch.rand(1, 3, *clip)).shape == (1, 5)


def test_no_convolution_of_mvit_meets_the_bf16_bug():
    with torch.device("meta"): model = ours.mvit_v2_s()
    assert all(isinstance(m, Conv3d) for m in model.modules() if isinstance(m, nn.Conv3d))
    pool = ours.mvit_v2_s(num_classes=2).blocks[0].attn.pool_k.pool.to(memory_format=torch.channels_last_3d)
    x, grads = torch.rand(2, 96, 2, 16, 16).contiguous(memory_format=torch.channels_last_3d), []
    for bf16 in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16): y = pool(x)
        pool.zero_grad()
        y.float().backward(torch.linspace(-1, 1, y.numel()).view(y.shape))
        grads.append(pool.weight.grad)
    assert (grads[1] - grads[0]).abs().max() < 0.03 * grads[0].abs().max()


def test_mvit_says_which_clips():
    for clip in ((3, 64, 64), (4, 66, 64), (0, 64, 64)):
        with pytest.raises(VidclsError, match="even number of frames, and a height and width that are multiples of 4"): ours.mvit_v1_b(clip=clip)
    with torch.device("meta"): model = ours.mvit_v1_b(clip=(4, 32, 32))
    with pytest.raises(VidclsError, match="was built for clips of 4x32x32"): model(torch.empty(1, 3, 4, 64, 64, device="meta"))


def test_mvit_head_leaves_the_features_alone():
    model = ours.mvit_v2_s(num_classes=3).train()
    tokens = torch.rand(2, 5, 768)
    before = tokens.clone()
    model.forward_head(tokens)
    assert torch.equal(tokens, before)


# --- anybody's ---

class PerFrame(nn.Module):
    "Frames classified one by one, logits averaged; the classifier is not the last that is written down."
    def __init__(self, num_classes, in_channels=3):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.head = nn.Sequential(nn.Dropout(0.0), nn.Linear(8, num_classes))
        self.body = nn.Linear(in_channels, 8)

    def forward(self, x): return self.head(self.body(x.mean((3, 4)).transpose(1, 2)) * self.scale).mean(1)


def test_adopted():
    net, x = PerFrame(4), torch.rand(2, 3, 5, 8, 8)
    with pytest.raises(VidclsError, match="last layer 'body' gives 8"): adopt(net, 4)
    model = adopt(net, 4, "head.1", FOREIGN_CARD)
    assert isinstance(model, Adopted) and model.card is FOREIGN_CARD and model.stages == ("net.scale", "net.body")
    assert torch.equal(model(x), net(x)) and torch.allclose(model.forward_head(model.forward_features(x)), net(x), atol=1e-6)
    model.reset_classifier(0)
    assert torch.equal(model(x), model.forward_head(model.forward_features(x)))
    model(x).sum().backward()
    assert net.scale.grad is not None
    model.reset_classifier(2)
    assert model(x).shape == (2, 2)
    torch.testing.assert_close(torch.compile(model, backend="eager", fullgraph=True)(x), model(x))


def test_from_path(tmp_path, monkeypatch):
    (tmp_path/"theirs.py").write_text("from torch import nn\nclass Nets:\n    @staticmethod\n    def build(num_classes, clip, width=4):\n"
                                      "        'Theirs'\n        return nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, width), nn.Linear(width, num_classes))\n"
                                      "def late(num_classes): return nn.Sequential(nn.Flatten(2), nn.Linear(256, num_classes))\n")
    (tmp_path/"broken.py").write_text("import no_such_dependency\n")
    (tmp_path/"syntax.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    known = foreign_info("theirs:Nets.build")
    assert known.summary == "Theirs" and known.sized and known.card is FOREIGN_CARD
    model = known.build(num_classes=3, clip=(4, 8, 8), width=6)
    assert (model.name, model.kwargs, model.num_features) == ("theirs:Nets.build", {"clip": (4, 8, 8), "width": 6}, 6)
    assert (model.card.frames, model.card.crop) == (4, (8, 8)) and all(r >= 8 for r in model.card.resize)
    x = torch.rand(2, 3, 4, 8, 8)
    assert model(x).shape == (2, 3)
    with pytest.raises(VidclsError, match=r"theirs:late gave a tensor of shape \(2, 3, 5\) for 2 clips"): foreign_info("theirs:late").build(num_classes=5)(x)
    for name, says in (("broken:f", "importing 'broken' failed with ModuleNotFoundError: No module named 'no_such_dependency'"), ("syntax:f", "failed with SyntaxError"),
                       ("theirs.sub:f", "importing 'theirs.sub' failed|no module 'theirs.sub'"), ("nobodys.nets:f", "no module 'nobodys'"), (":f", "importing '' failed"),
                       ("theirs:Nets.none", "has no 'Nets.none'"), ("theirs:", "has no ''")):
        with pytest.raises(VidclsError, match=says): build_from_path(name)


# --- transformers ---

def save(folder, kind, processor=True, **config):
    transformers = pytest.importorskip("transformers")
    sizes = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, num_labels=6, **config)
    net = getattr(transformers, f"{kind}ForVideoClassification")(getattr(transformers, f"{kind}Config")(**sizes))
    net.save_pretrained(folder)
    if processor: getattr(transformers, f"{kind}VideoProcessor")().save_pretrained(folder)
    return net.eval()


KINDS = {"Vivit": dict(image_size=32, num_frames=4), "VideoMAE": dict(image_size=32, num_frames=4), "Timesformer": dict(image_size=32, num_frames=4),
         "VJEPA2": dict(crop_size=32, frames_per_clip=4, num_pooler_layers=1, pred_hidden_size=24, pred_num_attention_heads=2, pred_num_hidden_layers=1)}
NORMS = {"Vivit": (0.75, 0.25), "VideoMAE": (0.5, 0.5), "Timesformer": (0.485, 0.229), "VJEPA2": (0.485, 0.229)}


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_transformers(kind, tmp_path):
    theirs, x = save(tmp_path, kind, **KINDS[kind]), torch.rand(2, 3, 4, 32, 32)
    known = foreign_info(f"hf:{tmp_path}")
    model = known.build(num_classes=None, clip=(4, 32, 32)).eval()
    assert torch.equal(model(x), theirs(x.transpose(1, 2)).logits) and model.num_classes == 6
    assert known.card == model.card and isinstance(model.card, InputCard) and (model.card.mean[0], model.card.std[0]) == NORMS[kind]
    assert (model.card.frames, model.card.crop) == (4, (32, 32)) and len(model.card.resize) == 1 and model.fixed_clip == (4, 32, 32)
    homes = [[s for s in (*model.stages, model.classifier) if key == s or key.startswith(f"{s}.")] for key, _ in model.named_parameters()]
    assert all(len(h) == 1 for h in homes) and len(model.stages) > 3
    assert torch.allclose(model.forward_head(model.forward_features(x)), model(x), atol=1e-6)
    again = foreign_info(model.name).build(num_classes=6, **model.kwargs)
    assert model.kwargs["pretrained"] is False and not torch.equal(again.eval()(x), model(x))
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(x), model(x))
    model.reset_classifier(3)
    assert model(x).shape == (2, 3)
    longer = lambda **kwargs: build_hf(f"hf:{tmp_path}", clip=(8, 32, 32), **kwargs).eval()(torch.rand(1, 3, 8, 32, 32))
    if kind in ("VideoMAE", "VJEPA2"): assert longer().shape == (1, 6)
    else:
        with pytest.raises(WeightsError, match=r"do not fit what was asked for .*\(4, 32, 32\), or take pretrained=False"): longer()
    assert longer(pretrained=False).shape == (1, 6)


def test_transformers_with_less(tmp_path, capsys):
    "Weights of pre-training, without a classifier; no preprocessor; other channels; names of classes."
    transformers = pytest.importorskip("transformers")
    net = save(tmp_path, "VideoMAE", processor=False, id2label={i: f"sport {i}" for i in range(6)}, label2id={f"sport {i}": i for i in range(6)}, **KINDS["VideoMAE"])
    model = build_hf(f"hf:{tmp_path}")
    assert model.classes == tuple(f"sport {i}" for i in range(6)) and "no preprocessor" in model.card.source and model.card.mean == (0.485, 0.456, 0.406)
    assert build_hf(f"hf:{tmp_path}", 4).classes == ()
    assert build_hf(f"hf:{tmp_path}", pretrained=False, in_channels=1)(torch.rand(1, 1, 4, 32, 32)).shape == (1, 6)
    transformers.VideoMAEModel(net.config).save_pretrained(tmp_path)
    assert build_hf(f"hf:{tmp_path}", 4).num_classes == 4 and "without a classifier; the head is new" in capsys.readouterr().err


def test_transformers_errors(tmp_path, monkeypatch):
    transformers = pytest.importorskip("transformers")
    transformers.BertConfig().save_pretrained(tmp_path/"bert")
    net = save(tmp_path/"bin", "Vivit", **KINDS["Vivit"])
    (tmp_path/"bin"/"model.safetensors").unlink()
    torch.save(net.state_dict(), tmp_path/"bin"/"pytorch_model.bin")
    (tmp_path/"empty").mkdir()
    for source, says in ((tmp_path/"bert", "is a bert, no video classifier of transformers; those are .*videomae"), (tmp_path/"bin", "can't get the weights .*safetensors"),
                         (tmp_path/"empty", "can't get the configuration"), ("owner/nothing-here", "can't get the configuration .*without a network, fetch it elsewhere"),
                         ("", "can't get the configuration")):
        with pytest.raises(VidclsError, match=says): build_hf(f"hf:{source}")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(VidclsError, match=r'pip install "vidcls\[hf\]"'): foreign_info(f"hf:{tmp_path/'bin'}")
