"Weights from elsewhere: files as torchvision, VMZ and IG-65M write them give the logits of those networks; whatever does not fit is refused with what to do."
import argparse
import http.server
import json
import os
import threading
from functools import partial

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models as images
from torchvision.models import video as tv
from torchvision.models.video import resnet as tvr

from vidcls.clips import VidclsError
from vidcls.models import WeightsError, create_model, guess_model, load_weights, misfits, model_info, save_weights
from vidcls.resnet import VideoResNet
from vidcls.weights import fetch_weights, read_weights, to_torchvision

from test_models import clips, randomise_norms, states_equal

TORCHVISION = ["r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v1_b", "mvit_v2_s", "swin3d_t"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    "PyTorch's cache of downloads, empty."
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def agree(ours, theirs, x):
    with torch.inference_mode(): a, b = ours.eval()(x), theirs.eval()(x)
    assert b.abs().max() > 1e-3 and (a - b).abs().max() <= 1e-5 * max(1, b.abs().max())


# --- torchvision's files ---

@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_files(name, tmp_path):
    torch.manual_seed(0)
    theirs = randomise_norms(getattr(tv, name)(num_classes=7))
    torch.save(theirs.state_dict(), tmp_path/"w.pth")
    ours = create_model(name, weights=tmp_path/"w.pth")
    assert ours.num_classes == 7
    agree(ours, theirs, clips(1, frames=16, size=64 if name in ("r3d_18", "mc3_18", "r2plus1d_18", "swin3d_t") else 224)) # MViT and S3D of torchvision take no other
    back = to_torchvision(ours.state_dict())
    assert back.keys() == theirs.state_dict().keys() and all(torch.equal(v, back[k]) for k, v in theirs.state_dict().items())


def test_reference_checkpoint(tmp_path):
    "What torchvision's training script saves: model, optimiser and a bag of settings, under DistributedDataParallel."
    theirs = randomise_norms(tv.r3d_18(num_classes=3))
    state = {f"module.{k}": v for k, v in theirs.state_dict().items()}
    torch.save(dict(model=state, optimizer={}, epoch=4, args=argparse.Namespace(lr=0.01)), tmp_path/"checkpoint.pth")
    agree(create_model("r3d_18", weights=tmp_path/"checkpoint.pth"), theirs, clips())


@pytest.mark.parametrize("given", ["KINETICS400_V1", "DEFAULT", "R2Plus1D_18_Weights.KINETICS400_V1"])
def test_torchvision_names(given, cache):
    "The file is looked for in torchvision's cache, under torchvision's name; what is there is used without a network."
    cache.mkdir(parents=True)
    theirs = randomise_norms(tv.r2plus1d_18())
    torch.save(theirs.state_dict(), cache/"r2plus1d_18-91a641e6.pth")
    ours = create_model("r2plus1d_18", weights=given)
    assert states_equal(ours, theirs) and len(ours.classes) == 400 and ours.classes[0] == "abseiling"
    assert all(m.eps == 1e-5 for m in ours.modules() if isinstance(m, nn.BatchNorm3d))


# --- VMZ and IG-65M ---

class PaperConv(tvr.Conv2Plus1D):
    "As in VMZ: middle channels for each convolution."
    def __init__(self, n_in, n_out, midplanes, stride=1, padding=1): super().__init__(n_in, n_out, n_in * n_out * 27 // (n_in * 9 + 3 * n_out), stride, padding)

class Depthwise(nn.Conv3d):
    def __init__(self, n_in, n_out, midplanes=None, stride=1, padding=1): super().__init__(n_in, n_out, 3, stride, padding, groups=n_in, bias=False)
    get_downsample_stride = staticmethod(lambda stride: (stride,) * 3)

class Preserved(nn.Sequential):
    def __init__(self, n_in, n_out, midplanes, stride=1, padding=1): super().__init__(nn.Conv3d(n_in, n_out, 1, bias=False), nn.BatchNorm3d(n_out), Depthwise(n_out, n_out, None, stride))
    get_downsample_stride = staticmethod(lambda stride: (stride,) * 3)

class PooledStem(tvr.BasicStem):
    def __init__(self):
        super().__init__()
        self.append(nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)))


def vmz(conv, block, layers, stem, classes):
    "A network as VMZ's PyTorch code builds it on torchvision's; with few blocks, to be quick."
    net = tvr.VideoResNet(block, [conv] * 4, list(layers), stem, num_classes=classes) # (its R(2+1)D-152 pools in the stem unless told; ours does not, as the GFLOPs that are published with it say)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm3d): m.eps, m.momentum = 1e-3, 0.9
    return randomise_norms(net)


@pytest.mark.parametrize("name,conv,block,layers,stem", [("r2plus1d_34", PaperConv, tvr.BasicBlock, (3, 4, 6, 3), tvr.R2Plus1dStem), ("r2plus1d_152", PaperConv, tvr.Bottleneck, (1, 2, 2, 1), tvr.R2Plus1dStem),
                                                         ("ir_csn_152", Depthwise, tvr.Bottleneck, (1, 2, 2, 1), PooledStem), ("ip_csn_152", Preserved, tvr.Bottleneck, (1, 2, 2, 1), PooledStem)])
def test_vmz_files(name, conv, block, layers, stem, tmp_path):
    torch.manual_seed(0)
    theirs = vmz(conv, block, layers, stem, 487)
    torch.save(theirs.state_dict(), tmp_path/"w.pth")
    ours = create_model(name, weights=tmp_path/"w.pth", layers=layers)
    assert ours.num_classes == 487 and {m.eps for m in ours.modules() if isinstance(m, nn.BatchNorm3d)} == {1e-3} and {m.momentum for m in ours.modules() if isinstance(m, nn.BatchNorm3d)} == {0.1}
    agree(ours, theirs, clips(size=64))


def test_ig65m_port_under_torchvisions_name(tmp_path):
    "The port mends the second convolution of three blocks; the same rule and epsilon follow from the shapes, whatever the model is called."
    torch.manual_seed(0)
    theirs = tvr.VideoResNet(tvr.BasicBlock, [tvr.Conv2Plus1D] * 4, [2, 2, 2, 2], tvr.R2Plus1dStem, num_classes=359)
    for layer, n in ((theirs.layer2, 128), (theirs.layer3, 256), (theirs.layer4, 512)): layer[0].conv2[0] = tvr.Conv2Plus1D(n, n, n * 9 // 4)
    for m in theirs.modules():
        if isinstance(m, nn.BatchNorm3d): m.eps = 1e-3
    torch.save(randomise_norms(theirs).state_dict(), tmp_path/"w.pth")
    ours = create_model("r2plus1d_18", weights=tmp_path/"w.pth")
    agree(ours, theirs, clips())
    assert ours.kwargs["mid_per_conv"] and ours.kwargs["norm_eps"] == 1e-3


def test_torchvisions_rule_at_34_layers(tmp_path):
    torch.manual_seed(0)
    theirs = randomise_norms(tvr.VideoResNet(tvr.BasicBlock, [tvr.Conv2Plus1D] * 4, [3, 4, 6, 3], tvr.R2Plus1dStem, num_classes=5))
    torch.save(theirs.state_dict(), tmp_path/"w.pth")
    agree(create_model("r2plus1d_34", weights=tmp_path/"w.pth"), theirs, clips())


def test_flow_weights_bring_their_channels(tmp_path):
    save_file(create_model("r2plus1d_tiny", in_channels=2, num_classes=3).state_dict(), tmp_path/"flow.safetensors")
    assert create_model("r2plus1d_10", widths=(16, 32, 64, 128), weights=tmp_path/"flow.safetensors").in_channels == 2


# --- images ---

@pytest.mark.parametrize("image,video", [("resnet18", "fr2d_18"), ("resnet34", "fr2d_34"), ("resnet50", "fr2d_50")])
def test_an_inflated_network_sees_a_still_picture_as_before(image, video, tmp_path):
    "A network that takes each frame by itself gives the image network's features: its pool, its epsilon and its statistics are there. Small variances would show another epsilon."
    torch.manual_seed(0)
    theirs = randomise_norms(getattr(images, image)(num_classes=11)).eval()
    for m in theirs.modules():
        if isinstance(m, nn.BatchNorm2d): m.running_var.mul_(0.05); m.weight.data.mul_(0.2)
    torch.save(theirs.state_dict(), tmp_path/"image.pth")
    ours = create_model(video, weights=tmp_path/"image.pth", inflate=True).eval()
    assert ours.num_classes == 400, "a head for pictures says nothing of clips"
    theirs.fc, picture = nn.Identity(), clips(1, frames=1, size=64)
    with torch.inference_mode(): a, b = ours.forward_head(ours.forward_features(picture.expand(-1, -1, 4, -1, -1)), pre_logits=True), theirs(picture[:, :, 0])
    assert (a - b).abs().max() < 1e-5 * b.abs().max()


@pytest.mark.parametrize("image,video", [("resnet18", "r3d_18"), ("resnet18", "rmc3_18"), ("resnet34", "mc4_34"), ("resnet50", "r3d_50")])
def test_inflated_kernels(image, video, tmp_path):
    "Kernels are repeated over time and divided by how often; where time does not end, the first layers give what they gave for the picture."
    torch.manual_seed(0)
    theirs = randomise_norms(getattr(images, image)()).eval()
    torch.save(theirs.state_dict(), tmp_path/"image.pth")
    ours, picture = create_model(video, weights=tmp_path/"image.pth", inflate=True).eval(), clips(1, frames=1, size=64)
    with torch.inference_mode():
        y = ours.layer1(ours.stem(picture.expand(-1, -1, 19, -1, -1)))[:, :, 9]
        z = theirs.layer1(theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(picture[:, :, 0])))))
    assert (y - z).abs().max() < 1e-4 * z.abs().max()
    for k, v in ours.state_dict().items():
        if v.ndim == 5: assert torch.equal(v, v[:, :, :1].expand_as(v)), f"{k} is the same at all times"


def test_inflation_is_asked_for(tmp_path):
    torch.save(images.resnet18().state_dict(), tmp_path/"image.pth")
    with pytest.raises(WeightsError, match=r"those of an image network; inflate=True \(--inflate\)"): create_model("r3d_18", weights=tmp_path/"image.pth")
    with pytest.raises(WeightsError, match="do not fit r2plus1d_18: .*missing.*only networks of 3-D and 2-D convolutions"): create_model("r2plus1d_18", weights=tmp_path/"image.pth", inflate=True)
    save_weights(create_model("fr2d_tiny", num_classes=2), tmp_path/"w.safetensors")
    with pytest.raises(WeightsError, match="nothing to inflate"): create_model("fr2d_tiny", weights=tmp_path/"w.safetensors", inflate=True)


# --- addresses ---

@pytest.fixture
def server(tmp_path):
    "A server of files on this machine."
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as s:
        threading.Thread(target=s.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{s.server_address[1]}"
        s.shutdown()


def test_addresses(server, cache):
    folder, url = server
    net = create_model("fr2d_tiny", num_classes=2)
    save_weights(net, folder/"w.safetensors", classes="ab")
    assert states_equal(create_model("fr2d_tiny", weights=f"{url}/w.safetensors"), net)
    (folder/"w.safetensors").unlink()
    assert states_equal(create_model("fr2d_tiny", weights=f"{url}/w.safetensors"), net), "fetched once, it is here"
    with pytest.raises(WeightsError, match=rf"can't fetch {url}/none.pth .*File not found.* put it at {cache}/[0-9a-f]+/none.pth"): fetch_weights(f"{url}/none.pth")


def test_files_of_one_name_from_two_addresses(server):
    "Every repository calls its file model.safetensors; none is taken for another."
    folder, url = server
    nets = {}
    for name in "ab":
        (folder/name).mkdir()
        nets[name] = create_model("fr2d_tiny", num_classes=2)
        save_weights(nets[name], folder/name/"model.safetensors", classes=[name, "other"])
    for name, net in nets.items():
        loaded = create_model("fr2d_tiny", weights=f"{url}/{name}/model.safetensors")
        assert states_equal(loaded, net) and loaded.classes == (name, "other")


def test_a_download_cut_short_is_not_kept(server, cache):
    folder, url = server
    (folder/"w-01234567.pth").write_bytes(b"half")
    with pytest.raises(WeightsError, match="invalid hash"): fetch_weights(f"{url}/w-01234567.pth")
    assert not [f for f in cache.rglob("*") if f.is_file()]


def test_every_published_address_has_a_file_name_of_its_own():
    known = [item for m in ("r2plus1d_34", "r2plus1d_152", "ir_csn_152", "ip_csn_152") for item in model_info(m).weights.items()]
    names = [url.rsplit("/", 1)[1] for _, (url, _) in known]
    assert all(name.endswith(f"_{frames}F") and frames in (8, 32) for name, (_, frames) in known)
    assert len(names) == len(set(names)) == 15 and all(n.endswith(".pth") for n in names)
    with pytest.raises(WeightsError, match="there are IG65M_8F, IG65M_32F, IG65M_KINETICS_8F, IG65M_KINETICS_32F"): create_model("r2plus1d_34", weights="IG65M")


def test_hugging_face_without_a_network(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from huggingface_hub import constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for source in ("hf:someone/something", "someone/something"):
        with pytest.raises(WeightsError, match="can't fetch model.safetensors of someone/something from the Hugging Face Hub"): create_model("r3d_18", weights=source)


# --- what is refused ---

def test_misfits(tmp_path):
    net = create_model("fr2d_tiny", num_classes=2)
    assert misfits(net, net.state_dict()) == ""
    state = {k: v for k, v in net.state_dict().items() if not k.startswith("layer3")} | {"extra": torch.zeros(1), "stem.0.weight": torch.zeros(16, 3, 1, 5, 5)}
    wrong = misfits(net, state)
    assert "missing (layer3.0.conv1.0.weight" in wrong and "more)" in wrong
    assert "1 unexpected (extra)" in wrong and "1 of another shape (stem.0.weight is 16x3x1x5x5, not 16x3x1x7x7)" in wrong
    before = {k: v.clone() for k, v in net.state_dict().items()}
    save_file(state, tmp_path/"w.safetensors")
    with pytest.raises(WeightsError, match="missing .*unexpected .*of another shape .*create the model with the name and arguments"): load_weights(net, tmp_path/"w.safetensors")
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items()), "a refused file changes nothing"


def test_weights_of_another_model(tmp_path):
    "Foreign ones are recognised by their size, ours by what they say."
    state = create_model("mc3_18", num_classes=9).state_dict()
    assert guess_model(state) == ["mc3_18"]
    save_file(state, tmp_path/"w.safetensors")
    with pytest.raises(WeightsError, match="do not fit r3d_18: .*they look like those of mc3_18"): create_model("r3d_18", weights=tmp_path/"w.safetensors")
    save_weights(create_model("fr2d_tiny", num_classes=2), tmp_path/"ours.safetensors")
    with pytest.raises(WeightsError, match="are those of fr2d_tiny, not of r3d_18; create that model"): create_model("r3d_18", weights=tmp_path/"ours.safetensors")


class Evil:
    def __reduce__(self): return os.system, ("echo harm > harm",)


def test_hostile_and_broken_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(dict(model=Evil()), "evil.pth")
    with pytest.raises(WeightsError, match="holds (posix|nt).system, and loading that could run code; it was not loaded"): create_model("r3d_18", weights="evil.pth")
    torch.save(nn.Linear(1, 1), "module.pth")
    with pytest.raises(WeightsError, match="holds torch.nn.modules.linear.Linear"): create_model("r3d_18", weights="module.pth")
    assert not (tmp_path/"harm").exists()
    save_weights(create_model("fr2d_tiny"), "w.safetensors")
    torch.save(create_model("fr2d_tiny").state_dict(), "w.pth")
    torch.save(create_model("fr2d_tiny").state_dict(), "old.pth", _use_new_zipfile_serialization=False)
    for name in ("w.safetensors", "w.pth", "old.pth"):
        whole = (tmp_path/name).read_bytes()
        for size in (0, 1, 7, 100, len(whole) // 2, len(whole) - 1):
            (tmp_path/"cut").write_bytes(whole[:size])
            with pytest.raises(WeightsError, match="cannot be read: it is truncated, or not a file of weights"): create_model("fr2d_tiny", weights="cut")
    (tmp_path/"text.pth").write_text("<html>not found</html>")
    with pytest.raises(WeightsError, match="cannot be read: it is truncated"): create_model("fr2d_tiny", weights="text.pth")
    (tmp_path/"bomb.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    with pytest.raises(WeightsError, match="cannot be read: it is truncated"): create_model("fr2d_tiny", weights="bomb.safetensors")


@pytest.mark.parametrize("told", ["{", "[]", '{"layout": "x"}', '{"classes": null}', '{"classes": ["a", "b", "c"]}', '{"kwargs": []}', '{"kwargs": {"wide": 3}}', '{"kwargs": {"layers": [1, "x", 1, 1]}}', '{"card": {"x": 1}}'])
def test_a_header_that_lies(told, tmp_path):
    save_file(create_model("fr2d_tiny", num_classes=2).state_dict(), tmp_path/"w.safetensors", {"vidcls": told})
    with pytest.raises(VidclsError, match="what vidcls writes|name 3 classes, and classify 2|can't be built with|an input card that is none"): create_model("fr2d_tiny", weights=tmp_path/"w.safetensors")


def test_published_weights_bring_their_clip_length(cache):
    cache.mkdir(parents=True)
    torch.manual_seed(0)
    net = create_model("r2plus1d_34", num_classes=3, widths=(8, 8, 16, 16))
    torch.save(net.state_dict(), cache/"r2plus1d_34_clip8_ft_kinetics_from_ig65m-0aa0550b.pth")
    loaded = create_model("r2plus1d_34", weights="IG65M_KINETICS_8F", widths=(8, 8, 16, 16))
    assert (loaded.card.frames, create_model("r2plus1d_34", widths=(8, 8, 16, 16)).card.frames) == (8, 32) and states_equal(loaded, net)


def test_nothing_of_that_name(tmp_path):
    for source in ("nothing.pth", "some/where.safetensors", "a/b/c", ""):
        with pytest.raises(WeightsError, match="neither a file or run folder that is here, nor an address, nor a name|is a folder without"): create_model("r3d_18", weights=source)
    with pytest.raises(WeightsError, match="folder without a config.json"): create_model("r3d_18", weights=tmp_path)


def test_run_folder(tmp_path):
    "The best checkpoint, with keywords, classes and input card; the last one where there is no best."
    net = create_model("r2plus1d_tiny", num_classes=3, in_channels=1)
    (tmp_path/"last").mkdir()
    settings = dict(model="r2plus1d_tiny", clip_len=8, frame_rate=10, val_resize_size=[36, 36], val_crop_size=[32, 32])
    (tmp_path/"config.json").write_text(json.dumps(dict(settings=settings, model=dict(name=net.name, kwargs=net.kwargs), classes=["x", "y", "z"], input=dict(mean=[.5], std=[.2]))))
    save_file(net.state_dict(), tmp_path/"last"/"model.safetensors")
    again = create_model("r2plus1d_tiny", weights=tmp_path)
    assert states_equal(again, net) and again.classes == ("x", "y", "z") and again.in_channels == 1
    assert (again.card.frames, again.card.frame_rate, again.card.crop, again.card.mean) == (8, 10, (32, 32), (.5,))
