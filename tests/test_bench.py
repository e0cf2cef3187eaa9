"Benchmarks: what they compare is the same, a missing peer is said, and results survive as JSON."
import json
import sys

import pytest
import torch

from vidcls import bench
from vidcls.bench import RECIPE, agreement, bench_index, bench_loader, bench_prepare, bench_table, bench_videos, ffmpeg_prepare, film, interleave, load_bench, missing_peer, reference, reference_dataset, save_bench, step_rate
from vidcls.clips import VidclsError
from vidcls.index import build_index
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
