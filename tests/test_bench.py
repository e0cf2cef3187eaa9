"Benchmarks: what they compare is the same, a missing peer is said, and results survive as JSON."
import json
import sys

import pytest
import torch

from vidcls import bench
from vidcls.bench import (RECIPE, agreement, bench_index, bench_loader, bench_model, bench_prepare, bench_table, bench_videos, contenders, ffmpeg_prepare, film, fuse_norms, interleave, load_bench, missing_peer,
                          peak_tflops, plot_bench, reference, reference_dataset, save_bench, step_rate)
from vidcls.clips import VidclsError
from vidcls.index import build_index
from vidcls.models import create_model
from vidcls.video import probe

needs_torchcodec = pytest.mark.skipif(bool(missing_peer("torchcodec")), reason=str(missing_peer("torchcodec")))
needs_ffmpeg = pytest.mark.skipif(bool(missing_peer("ffmpeg")), reason=str(missing_peer("ffmpeg")))


@pytest.fixture(scope="module")
def data(tmp_path_factory): return bench_videos(tmp_path_factory.mktemp("bench"), 3, seconds=2, size=(180, 320))


@pytest.fixture
def no_peers(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    monkeypatch.setenv("PATH", "")


def test_videos(data):
    files = sorted(data.rglob("*.mp4"))
    info = probe(files[0])
    assert len(files) == 3 and (info.width, info.height, info.num_frames, info.fps, info.keyframe_gap) == (320, 180, 60, 30, 60)
    a, b = list(film(1, 0.1, (90, 160))), list(film(2, 0.1, (90, 160)))
    assert len(a) == 3 and a[0].shape == (90, 160, 3)
    assert abs(a[0].astype(int) - b[0]).mean() > 5 and 0.5 < abs(a[0].astype(int) - a[1]).mean() < 30  # each its own, and it moves


def test_missing_peers_are_said(data, no_peers):
    assert "pip install vidcls[bench]" in missing_peer("torchcodec") and "ffmpeg" in missing_peer("ffmpeg")
    result = bench_loader(data, data, rounds=1, seconds=0.1, batch_size=5, workers=1)
    text = bench_table(result)
    assert text.count("not measured: TorchCodec is not installed") == 2
    assert [result["rows"][name]["median"] for name in ("reference", "torchcodec")] == [None, None] and result["rows"]["ours"]["median"] > 0
    assert [t["reached"] for t in result["targets"]] == [None, None] and "not known" in text
    result = bench_prepare(data, workers=1, rounds=1)
    assert result["rows"]["reference"]["median"] is None and "apt install ffmpeg" in result["rows"]["reference"]["reason"]
    assert result["environment"]["ffmpeg"] is None


def test_index_and_json(data, tmp_path):
    result = bench_index(data, videos=30, workers=1, rounds=2, files=50, rows=2000)
    assert len(result["rows"]["ours"]["rounds"]) == 2 and result["facts"][0]["value"] > result["facts"][1]["value"] > 0
    assert json.loads(save_bench(result, tmp_path).read_text()) == load_bench("index", tmp_path) == json.loads(json.dumps(result))
    assert not [f for f in data.parent.iterdir() if f.name.startswith("tmp")]  # nothing is left beside the videos


@needs_torchcodec
def test_loaders_agree_and_a_shift_is_found(data, monkeypatch):
    theirs, index = reference_dataset(data), build_index(data, progress=False)
    good = agreement(theirs, index)
    assert good["difference"] < 4 and good["clips"] == 6
    fixed = bench._ours_fixed
    monkeypatch.setattr(bench, "_ours_fixed", lambda *args: fixed(*args).roll(1, 2))
    with pytest.raises(VidclsError, match="do not deliver the same clips"): agreement(theirs, index)
    clips = next(reference(theirs, 4, 0))
    assert clips.shape == (4, 3, RECIPE["clip_len"], *RECIPE["crop"]) and clips.dtype == torch.float32


@needs_torchcodec
def test_videos_unknown_to_the_reference(data, tmp_path):
    other = bench_videos(tmp_path, 1, seconds=2, size=(90, 160))
    (other / "train/class0/0000.mp4").rename(other / "train/class0/new.mp4")
    with pytest.raises(VidclsError, match="none of the 1 videos"): agreement(reference_dataset(data), build_index(other, progress=False))


@needs_ffmpeg
def test_ffmpeg_prepares(data, tmp_path):
    assert ffmpeg_prepare(data, tmp_path / "small") == 3
    info = probe(next((tmp_path / "small").rglob("*.mp4")))
    assert (info.width, info.height, info.fps, info.num_frames, info.keyframe_gap) == (172, 128, 15, 30, 15)
    (tmp_path / "bad").mkdir(); (tmp_path / "bad/x.mp4").write_text("no video")
    with pytest.raises(VidclsError, match="ffmpeg can't prepare .*x.mp4"): ffmpeg_prepare(tmp_path / "bad", tmp_path / "out")


def test_rounds_take_turns():
    log = []
    def row(name, value): return name, lambda: log.append(name) or value
    rows = interleave({"peer": row("peer", 2.), "ours": row("ours", 5.)}, 3, "x/s")
    assert log == ["peer", "ours"] * 3 and rows["ours"]["ratio"] == 2.5 and rows["peer"]["spread"] == 0


def test_a_decoder_that_dies_is_an_error(data, monkeypatch):
    def broken(*_): raise RuntimeError("as the test wants it")
    monkeypatch.setattr(bench, "_decode_video", broken)
    with pytest.raises(VidclsError, match="ended early"): bench.decode_only(build_index(data, progress=False), 1, 0.1)


def test_steps_are_counted(monkeypatch):
    monkeypatch.setitem(RECIPE, "clip_len", 4); monkeypatch.setitem(RECIPE, "crop", (16, 16))
    assert step_rate(2, 0.1, model="r2plus1d_tiny", device="cpu") > 0


TINY = dict(batch_size=2, clip_len=4, crop=32, rounds=2, seconds=0, device="cpu")

@pytest.fixture
def tiny_peer(monkeypatch): # in place of torchvision's networks, of which the smallest takes its time
    monkeypatch.setattr(bench, "reference_model", lambda model: create_model(model, num_classes=400))


def test_models(tiny_peer, monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "bf16_units", lambda: ["amx_bf16", "avx512_bf16"])
    monkeypatch.setattr(bench, "choose_precision", lambda amp, device: "bf16")
    result = bench_model(["r2plus1d_tiny"], **TINY)
    assert json.loads(save_bench(result, tmp_path).read_text()) == load_bench("model", tmp_path) == json.loads(json.dumps(result))
    rows, text = result["rows"], bench_table(result)
    assert [len(names) for names in result["groups"].values()] == [6, 5] and sum(map(len, result["groups"].values())) == len(rows)
    for group, names in result["groups"].items():
        best = [rows[name] for name in names if rows[name]["best"]]
        assert len(best) == 1 and best[0]["median"] == max(rows[name]["median"] for name in names if " ours" in name)
        assert rows[names[0]]["what"] == "torchvision, float32" and rows[names[0]]["ratio"] == 1 and group in text
        assert all(len(rows[name]["rounds"]) == 2 and rows[name]["memory"] is None and rows[name]["share"] is None for name in names)
    assert [(t["wanted"], t["reached"]) for t in result["targets"]] == [(3.5, rows[t["row"]]["ratio"] >= 3.5) for t in result["targets"]]
    row = rows["r2plus1d_tiny step ours"]
    work = row["tflops"] / row["median"]
    assert work == pytest.approx(3 * rows["r2plus1d_tiny forward ours"]["tflops"] / rows["r2plus1d_tiny forward ours"]["median"]) and 1e-4 < work < 1e-3
    differ = result["logits"]["r2plus1d_tiny"]
    assert differ["vidcls, float32, channels last"] < 1e-5 < differ["vidcls, bf16, channels last, norms folded"] < 0.05
    assert len(plot_bench(result)) == 2


def test_targets_only_where_the_units_are(tiny_peer, monkeypatch):
    monkeypatch.setattr(bench, "bf16_units", lambda: ["avx512_bf16"])
    monkeypatch.setattr(bench, "missing_compiler", lambda: "torch.compile needs a C++ compiler")
    result = bench_model(["r2plus1d_tiny"], compiled=True, **TINY)
    text = bench_table(result)
    assert [t["reached"] for t in result["targets"]] == [None, None] and text.count("wanted only of CPUs with matrix units for bf16") == 2
    assert text.count("not measured: torch.compile needs a C++ compiler") == 2 and not result["rows"]["r2plus1d_tiny step ours compiled"].get("best")
    card, gpu = {"a": dict(best=True, ratio=2.)}, torch.device("cuda")
    assert bench._target("", card, gpu, True)["reached"] is True and bench._target("", card, gpu, False)["reached"] is None


def test_another_network_is_an_error(monkeypatch):
    def other(model):
        net = create_model(model, num_classes=400)
        for norm in net.modules():
            if isinstance(norm, torch.nn.BatchNorm3d): norm.eps = 0.1
        return net
    monkeypatch.setattr(bench, "reference_model", other)
    with pytest.raises(VidclsError, match="r2plus1d_tiny: the logits of 'vidcls, float32' differ from torchvision's"): bench_model(["r2plus1d_tiny"], **TINY)
    monkeypatch.setattr(bench, "reference_model", lambda model: create_model("fr2d_tiny", num_classes=400))
    with pytest.raises(VidclsError, match="do not fit ours"): bench_model(["r2plus1d_tiny"], **TINY)


def test_peer_trains_as_we_do(tiny_peer): # the same loss after a step, whatever the memory format
    clips = torch.randn(2, 3, 4, 32, 32)
    rows = contenders("r2plus1d_tiny", clips, train=True)
    first = rows["reference"].net.fc.weight.clone()
    for name in ("reference", "ours contiguous", "ours"): rows[name].step()
    for name in ("ours contiguous", "ours"): torch.testing.assert_close(rows[name].net.fc.weight, rows["reference"].net.fc.weight, rtol=1e-4, atol=1e-6)
    assert not torch.equal(first, rows["reference"].net.fc.weight)


@pytest.mark.parametrize("name", ["r2plus1d_tiny", "fr2d_tiny"])
def test_norms_are_folded(name):
    net = create_model(name, num_classes=5)
    for norm in net.modules():
        if isinstance(norm, torch.nn.BatchNorm3d):
            for t, low, high in ((norm.weight.data, 0.5, 2), (norm.bias.data, -1, 1), (norm.running_mean, -1, 1), (norm.running_var, 0.5, 2)): t.uniform_(low, high)
    folded, clips = fuse_norms(net.to(memory_format=torch.channels_last_3d)), torch.randn(2, 3, 4, 32, 32)
    assert not [m for m in folded.modules() if isinstance(m, torch.nn.BatchNorm3d)] and net.training and not folded.training
    with torch.inference_mode(): torch.testing.assert_close(folded(clips), net.eval()(clips), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kwargs, message", [(dict(rounds=0), "rounds=0 measures nothing"), (dict(batch_size=0), "batch_size=0"), (dict(device="mps"), "use cpu or cuda"), (dict(models=["x"]), "torchvision has no video model 'x'")])
def test_models_bad_input(kwargs, message):
    with pytest.raises(VidclsError, match=message): bench_model(**{"models": ["r3d_18"], **TINY, **kwargs})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_models_on_a_gpu(tiny_peer):
    result = bench_model(["r2plus1d_tiny"], **{**TINY, "device": "cuda"})
    for names in result["groups"].values():
        assert result["rows"][names[0]]["what"].startswith("torchvision, autocast") and all(result["rows"][name]["memory"] > 0 for name in names)
    assert result["settings"]["peak_tflops"] == peak_tflops(result["environment"]["gpu"])
