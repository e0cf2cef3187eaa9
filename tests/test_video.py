"Real and odd files: each decodes its picture or is refused with a reason; frames are those that the timestamps say."
import gc
import json
import os
import time
from bisect import bisect_right
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation, VideoReformatter
from conftest import DATA, real

from vidcls.clips import num_ticks
from vidcls.video import Video, VideoError, probe, write_video

REFUSED = {  # files of data/edge that hold no video, and why
    "Zulko+moviepy/media__doc_medias__result.webm": "empty",
    "Zulko+moviepy/media__crunching.mp3": "no picture",
    "Zulko+moviepy/media__rain.mp3": "no picture",
    "Zulko+moviepy/media__with-attached-pic.mp3": "no picture",  # a cover is no film
    "pytorch+torchcodec/test__resources__nasa_13013.mp4.audio.mp3": "no picture",
    "pytorch+torchcodec/test__resources__nasa_13013.mp4.audio_44100.mp3": "no picture",
}
BROKEN_IN_THE_MIDDLE = {"tests__test_data__corrupted.mp4"}
EDGE = json.loads((DATA / "edge/index.json").read_text()) if (DATA / "edge/index.json").exists() else []


@pytest.mark.parametrize("entry", EDGE or [None], ids=lambda e: e["path"].split("/")[-1] if e else "none")
def test_every_odd_file_decodes_or_is_refused(entry):
    folder = real("edge")
    path, began = folder / entry["path"], time.monotonic()
    if entry["path"] in REFUSED:
        with pytest.raises(VideoError) as e: probe(path)
        assert e.value.reason == REFUSED[entry["path"]] and str(path) in str(e.value)
    else:
        with Video(path, size=(24, 32)) as video:
            if "multi_video" not in entry["tags"]: assert len(video) == max(entry["n"], entry["nb"])  # nb: promised, n: decodable
            clip = video.clip(0, 8, 15)
            assert clip.shape == (8, 24, 32, 3) and clip.dtype == np.uint8
            assert video[-1].shape == (24, 32, 3)  # also where one packet in the middle is broken
            if len(video) > 8 and "mask" not in entry["path"]: assert clip.std() > 0
    assert time.monotonic() - began < 10


def reference_frames(path):
    "All frames of the best stream, decoded front to back with PyAV alone, and their timestamps."
    with av.open(str(path)) as c:
        out = [(f.pts, f.to_ndarray(format="rgb24")) for f in c.decode(c.streams.best("video"))]
    return [p for p, _ in out], np.stack([f for _, f in out])


@pytest.mark.parametrize("name", [
    "open-mmlab+mmaction2/demo__demo.mp4", "open-mmlab+mmaction2/tests__data__rawvideo_dataset__part_0.mp4", "dmlc+decord/examples__flipping_a_pancake.mkv",
    "Zulko+moviepy/media__no_duration.webm", "open-mmlab+mmaction2/tests__data__test.avi", "PaddlePaddle+PaddleVideo/data__example.avi"])
def test_seeking_finds_what_decoding_everything_finds(name):
    path = real("edge") / name
    pts, frames = reference_frames(path)
    with Video(path) as video:
        assert len(video) == len(frames)
        for i in (0, 1, len(frames) // 3, len(frames) // 2, len(frames) - 1): assert np.abs(video[i].astype(int) - frames[i]).max() <= 2, i
        if video.info.timing != "counted":  # by time: the last frame that is not later
            for t in (0.0, 0.21, 0.83):
                expected = max(i for i, p in enumerate(pts) if float((p - pts[0]) * video.info.time_base) <= t + 1e-9)
                assert np.abs(video.at(t).astype(int) - frames[expected]).max() <= 2, t


def test_rotated_recordings_are_turned(tmp_path):
    folder = real("edge") / "dmlc+decord"
    for angle in (0, 90, 180, 270):
        path = folder / f"tests__test_data__video_{angle}.mov"
        _, stored = reference_frames(path)
        video = Video(path)
        assert video.info.rotation == -angle % 360  # what the name says is clockwise
        assert np.abs(video[0].astype(int) - np.rot90(stored[0], video.info.rotation // 90)).max() <= 2


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotation_metadata_is_honoured(tmp_path, rotation):
    frame = np.zeros((64, 96, 3), np.uint8)
    frame[:16] = (255, 0, 0)  # red on top, as stored
    path = write_video(tmp_path / "r.mp4", [frame] * 4, rotation=rotation)
    shown = Video(path)[0]
    red = np.argwhere((shown[..., 0] > 150) & (shown[..., 2] < 100)).mean(0) / shown.shape[:2]
    side = {0: red[0] < 0.3, 90: red[1] < 0.3, 180: red[0] > 0.7, 270: red[1] > 0.7}  # counter-clockwise: top goes left
    assert side[rotation], red


def numbered(n, h=48, w=160):
    "Frames whose number can be read off: a bright bar 4 pixels wide at 4 times the number."
    frames = np.full((n, h, w, 3), 40, np.uint8)
    for i in range(n): frames[i, :, 4 * i:4 * i + 4] = 255
    return frames


def numbers(frames): return (frames[..., 0].astype(float).mean(-2).argmax(-1) // 4).tolist()


@pytest.mark.parametrize("suffix, codec, options", [
    ("mp4", "libx264", {}), ("mp4", "libx264", {"bf": "0"}), ("mkv", "libx264", {}), ("mov", "mpeg4", {"qscale": "2"}), ("avi", "mpeg4", {"qscale": "2"}),
    ("avi", "mpeg4", {"bf": "2", "qscale": "2"}), ("webm", "libvpx", {"b": "1M"}), ("mp4", "libx265", {}), ("ts", "libx264", {}), ("avi", "mjpeg", {"qscale": "2"})])
@pytest.mark.parametrize("fps", [12, 24, 25, Fraction(30000, 1001), 60])
def test_frames_by_number_and_time_in_every_container(tmp_path, suffix, codec, options, fps):
    path = write_video(tmp_path / f"v.{suffix}", numbered(40), fps=fps, codec=codec, options=options, gop=10, pix_fmt="yuvj420p" if codec == "mjpeg" else None)
    with Video(path) as video:
        assert len(video) == 40 and abs(video.info.fps - fps) < Fraction(1, 1000)
        assert numbers(video[:]) == list(range(40))
        for i in (0, 9, 10, 11, 25, 39): assert numbers(video[[i]]) == [i]
        ks = [k for k in range(8) if k * fps // 15 < 40]
        assert numbers(video.clip(0, len(ks), 15)) == [k * fps // 15 for k in ks]


def test_two_far_clips_do_not_decode_what_lies_between(tmp_path, monkeypatch):
    path = write_video(tmp_path / "v.mp4", numbered(40), fps=10, gop=5)
    converted = []
    import vidcls.video as module
    frames = module._frames
    def counted(*args):
        for item in frames(*args): converted.append(item[0]); yield item
    monkeypatch.setattr(module, "_frames", counted)
    with Video(path) as video: assert numbers(video.clips([0, 36], 2, 10).reshape(4, *video.shape)) == [0, 1, 36, 37]
    assert len(converted) < 20


def test_a_codec_without_a_decoder_is_refused(tmp_path):
    path = write_video(tmp_path / "v.avi", numbered(4), codec="mjpeg", pix_fmt="yuvj420p", options={"qscale": "2"})
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"XXXX"))
    with pytest.raises(VideoError): probe(path)


def test_ten_bit_and_full_range(tmp_path):
    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 48, 0).repeat(3, 2)
    for pix_fmt in ("yuv420p10le", "yuv444p", "yuvj420p"):
        shown = Video(write_video(tmp_path / "x.mp4", [ramp] * 3, pix_fmt=pix_fmt, crf=4))[1]
        assert np.abs(shown.astype(int) - ramp).mean() < 4, pix_fmt


def test_a_file_cut_in_the_middle_gives_what_is_left(tmp_path):
    whole = write_video(tmp_path / "whole.mkv", numbered(40), gop=10)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with Video(cut) as video:
        assert 4 < len(video) < 40
        assert numbers(video[[3]]) == [3]
        assert video.clip(0, 60, 25).shape[0] == 60


def test_damage_in_the_middle_is_named_not_papered_over(tmp_path):
    path = write_video(tmp_path / "v.mp4", np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), np.uint8), gop=40)
    data = bytearray(path.read_bytes())
    a = data.find(b"mdat")
    end = data.find(b"moov")
    data[a + (end - a) // 2: end - 8] = bytes(end - 8 - a - (end - a) // 2)
    path.write_bytes(data)
    with Video(path) as video:
        assert len(video) == 40
        assert video.clip(0, 8, 25).std() > 0  # the good half is there
        with pytest.raises(VideoError, match=r"decoding stops at 0\.\d\d s of 1\.60 s"): video[-1]


def test_unreadable_file_names_permission(tmp_path, monkeypatch):
    path = write_video(tmp_path / "v.mp4", numbered(3))
    def refuse(*a, **k): raise PermissionError(13, "Permission denied")
    monkeypatch.setattr(av, "open", refuse)  # root may read anything, so chmod would prove nothing
    with pytest.raises(VideoError) as e: probe(path)
    assert e.value.reason == "permission"


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux's /proc to see memory")
def test_memory_and_files_stay_flat(tmp_path):
    path = write_video(tmp_path / "v.mp4", numbered(24), fps=24)
    info = probe(path)
    def rounds(n):
        for k in range(n):
            with Video(path, info=info, size=32) as v: v.clip(Fraction(k % 12, 24), 8, 24)
        gc.collect()
        return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd"))
    rounds(200)
    (before, files), (after, files_after) = rounds(100), rounds(500)
    assert after - before < 10_000_000 and files_after == files


def assert_seeking_is_decoding(path, seed, clips=3, k=6):
    "Clips at random places, reached by seeking, against one pass over the whole file with PyAV alone."
    try: video = Video(path, size=(24, 32))
    except VideoError: return False
    ticks, rate = num_ticks(len(video), video.info.fps, 15), Fraction(15)
    turn, counted, scaler = video.info.rotation // 90, video.info.timing == "counted", VideoReformatter()
    w, h = (24, 32) if turn % 2 else (32, 24)
    at, seen = [], []
    try:
        with av.open(str(path), metadata_errors="ignore") as c:
            best = c.streams.best("video")
            best.thread_type, best.codec_context.thread_count = "NONE", 1
            for n, f in enumerate(c.decode(best)):
                at.append(n if counted else f.pts)
                seen.append(scaler.reformat(f, w, h, "rgb24", interpolation=Interpolation.BILINEAR).to_ndarray())
    except av.FFmpegError: return False  # broken in the middle: see the tests of damage
    starts = np.random.default_rng(seed).integers(0, max(ticks - k, 1), clips).tolist()
    together = video.clips(starts, k, rate)
    for start, clip in zip(starts, together):
        with Video(path, size=(24, 32), info=video.info) as alone: assert np.array_equal(alone.clips([start], k, rate)[0], clip)  # whatever else is asked for in the same pass
        for j, pos in enumerate(video._positions_of(np.minimum(start + np.arange(k), ticks - 1), rate)):
            right = np.rot90(seen[max(bisect_right(at, pos) - 1, 0)], turn)
            assert np.abs(clip[j].astype(int) - right).max() <= 1, (str(path), start, j)
    return True


@pytest.mark.parametrize("entry", [e for e in EDGE if e["path"] not in REFUSED] or [None], ids=lambda e: e["path"].split("/")[-1] if e else "none")
def test_a_clip_anywhere_is_that_of_decoding_everything(entry):
    done = assert_seeking_is_decoding(real("edge") / entry["path"], seed=entry["bytes"])
    assert done or entry["path"].split("/")[-1] in BROKEN_IN_THE_MIDDLE


def test_a_clip_anywhere_in_real_films_is_that_of_decoding_everything():
    for k, path in enumerate(sorted(real("fights").rglob("*.mp4"))[::30]): assert assert_seeking_is_decoding(path, seed=k)


def false_keyframes(source, target, which):
    "The same packets, some of them marked as keyframes that are none, as editors that cut without decoding leave them."
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for k, p in enumerate(p for p in old.demux(old.streams.video[0]) if p.dts is not None):
            p.stream = stream
            if k in which: p.is_keyframe = True
            new.mux(p)
    return target


@pytest.mark.parametrize("options", [{"bf": "0", "x264-params": "scenecut=0"}, {"bf": "2", "x264-params": "scenecut=0"}, {"bf": "0", "x264-params": "intra-refresh=1:scenecut=0"}])
def test_a_keyframe_that_is_none_does_no_harm(tmp_path, options):
    path = false_keyframes(write_video(tmp_path / "good.mp4", numbered(40), gop=40, options=options), tmp_path / "bad.mp4", (10, 20, 30))
    frames = reference_frames(tmp_path / "good.mp4")[1]
    with Video(path) as video:
        assert video.info.keyframe_gap < 40  # so it is tried
        for i in (3, 10, 11, 19, 20, 21, 25, 31, 39): assert numbers(video[[i]]) == [i] and np.abs(video[i].astype(int) - frames[i]).max() <= 1
        assert numbers(video.clips([12, 33], 3).reshape(6, *video.shape)) == [12, 13, 14, 33, 34, 35]


def ramps(n=12, h=64, w=96):
    "Colours that change slowly, in another place in each frame."
    y, x = np.mgrid[:h, :w]
    return np.stack([np.stack([(x * 2 + 5 * i) % 256, y * 3, 255 - y * 3], -1) // 2 + 40 for i in range(n)]).astype(np.uint8)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "yuv420p10le", "yuvj420p"])
@pytest.mark.parametrize("rotation", [0, 90])
def test_planar_and_interleaved_frames_agree(tmp_path, pix_fmt, rotation):
    grey = ramps()[..., :1].repeat(3, -1)  # colours at half resolution are spread differently: there, agreement is one of the mean
    for frames, close in ((grey, 3 if pix_fmt != "yuv420p10le" else 4), (ramps(), None)):
        path = write_video(tmp_path / "v.mp4", frames, pix_fmt=pix_fmt, rotation=rotation, crf=4)
        for size in (None, (33, 49), (64, 86), (128, 171), 40):
            with Video(path, size=size) as a, Video(path, size=size, planar=True) as b:
                x, y = a[[0, 5, 11]], b[[0, 5, 11]]
                assert x.shape == y.shape and y[0].strides[-1] > y[0].strides[-2]  # planes, one after the other
                error = np.abs(x.astype(int) - y)
                assert error.max() <= close if close else error.mean() < 6, (size, error.max(), error.mean())
                out = b.empty(2, 3)
                assert np.array_equal(b.clips([0, 4], 3, 25, out=out), b.clips([0, 4], 3, 25)) and np.array_equal(out[1, 0], b[4])


@pytest.mark.parametrize("width", [16, 18, 20, 22, 24, 30, 36, 40, 44, 98, 112, 160, 172, 200, 320, 340, 341])
def test_every_pixel_is_written_at_every_width(tmp_path, width):
    grey = ramps(2, 32, width)[..., :1].repeat(3, -1)
    path = write_video(tmp_path / "v.mp4", grey, crf=4)
    for _ in range(3): assert np.abs(Video(path, planar=True)[:].astype(int) - Video(path)[:]).max() <= 3


@pytest.mark.parametrize("planar", [False, True])
def test_one_pixel_too_many_is_cut_not_scaled(tmp_path, planar):
    "Copies of odd size are filled up to even numbers; the edge goes, the rest stays as it is."
    path = write_video(tmp_path / "v.mp4", ramps(4, 66, 96), crf=4)
    whole = Video(path, planar=planar)[:]
    for h, w in ((65, 95), (66, 95), (65, 96)): assert np.array_equal(Video(path, planar=planar, size=(h, w))[:], whole[:, :h, :w])
    assert not np.array_equal(Video(path, planar=planar, size=(64, 96))[:], whole[:, :64])  # two are scaled


def test_a_call_that_takes_too_long_is_given_up(tmp_path, monkeypatch):
    import vidcls.video as module
    path, clock = write_video(tmp_path / "v.mp4", numbered(40), gop=40), [0.]
    def tick(): clock[0] += 0.1; return clock[0]
    monkeypatch.setattr(module, "monotonic", tick)  # every look at the clock takes a tenth of a second
    with Video(path, time_limit=1) as video:
        assert numbers(video[[3]]) == [3]  # early frames are there in time
        with pytest.raises(VideoError) as e: video[39]
        assert e.value.reason == "slow" and str(e.value) == f"{path}: decoding takes longer than the time limit (more than 1 s)"
        assert numbers(video[[2]]) == [2]  # each call has its own time


def test_a_picture_that_is_refreshed_bit_by_bit_is_not_entered_in_the_middle(tmp_path):
    "x264's intra refresh has no keyframes after the first, though its packets are marked as such."
    film = np.repeat(np.random.default_rng(0).integers(0, 255, (1, 12, 16, 3), np.uint8), 150, 0).repeat(8, 1).repeat(8, 2)
    for i in range(150): film[i, 8:24, i % 100:i % 100 + 16] = 255
    path = write_video(tmp_path / "refresh.mp4", film, 30, gop=250, options={"x264-params": "intra-refresh=1:bframes=0:keyint=20"})
    every = Video(path)[:]
    for k in range(5, 150, 9): assert np.array_equal(Video(path)[k], every[k]), k
