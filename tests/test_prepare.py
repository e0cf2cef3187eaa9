"Preparing can be killed, run out of room and meet anything: what is there is whole, what is missing is named, a second run completes it."
import csv
import ctypes
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import real

from vidcls.cli import main
from vidcls.clips import VidclsError
from vidcls.index import find_videos
from vidcls.prepare import PrepareConfig, prepare, transcode
from vidcls.video import Video, VideoError, probe, write_video

SMALL = PrepareConfig(size=(48, 64), frame_rate=10, gop=10, preset="ultrafast")
FLAGS = ["--size", "48", "64", "--frame-rate", "10", "--gop", "10", "--preset", "ultrafast"]


def wave(n, h=96, w=128, speed=5, tints=(1, 0.9, 0.8)):
    "Soft bars that move to the right: one frame more or less is plain to see, and scaling does no harm."
    x = np.arange(w)[None, None] - speed * np.arange(n)[:, None, None]
    y = np.arange(h)[None, :, None] / h
    grey = 128 + 90 * np.sin(2 * np.pi * x / 64) * np.ones_like(y) + 30 * (y - 0.5)
    return np.stack([128 + tint * (grey - 128) for tint in tints], -1).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    "Twelve videos in two splits and two classes."
    root = tmp_path_factory.mktemp("source") / "videos"
    for k in range(12):
        folder = root / ("val" if k % 4 == 3 else "train") / "ab"[k % 2 if k % 4 != 3 else k // 4 % 2]
        folder.mkdir(parents=True, exist_ok=True)
        write_video(folder / f"{k:02}.{('mp4', 'mkv', 'avi')[k % 3]}", wave(50 + 5 * k, speed=3 + k % 3), fps=(25, 30, 12.5)[k % 3], audio=k == 0, options={} if k % 3 != 2 else {"bf": "0"})
    return root


@pytest.fixture(scope="module")
def undisturbed(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    report = prepare(source, out, SMALL, workers=2, progress=False)
    assert report.done == report.videos == 12 and not report.left_out
    return out


def files(root, tables=False): return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file() and (tables or ".vidcls" not in p.parts)}


def tables(root): return {p.name: [{k: v for k, v in row.items() if k != "mtime_ns"} for row in pq.read_table(p).to_pylist()] for p in (root / ".vidcls").glob("*.parquet")}


def start(src, dst, *args, **kw):
    "The command in a process of its own, the head of a group."
    return subprocess.Popen([sys.executable, "-c", "from vidcls.cli import main; main()", "prepare", *map(str, (src, dst)), *FLAGS, *map(str, args)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **kw)


def run_cli(capsys, *args):
    "Exit code, stdout and stderr of `vidcls …`, in this process."
    with pytest.raises(SystemExit) as e: main([str(a) for a in args])
    said = capsys.readouterr()
    return e.value.code, said.out, said.err


def names(videos): return {split: sorted((p.removesuffix(".mp4"), label) for p, label in some) for split, some in videos.items()}


def test_copies_of_all_splits_and_classes(source, undisturbed):
    assert names(find_videos(undisturbed)) == names(find_videos(source))
    told = json.loads((undisturbed / "prepared.json").read_text())
    assert (told["videos"], told["prepared"], told["left_out"]) == (12, 12, []) and told["settings"]["size"] == [48, 64]
    assert sum(len(t) for t in tables(undisturbed).values()) == 12  # and already indexed
    assert not list(undisturbed.rglob(".*.part*"))


def test_a_second_run_has_nothing_to_do_and_the_bytes_are_the_same_in_every_run(source, undisturbed, tmp_path):
    times = {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*.mp4")}
    inodes = {p: p.stat().st_ino for p in undisturbed.rglob("*.mp4")}
    prepare(source, undisturbed, SMALL, workers=0, progress=False)
    assert times == {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*.mp4")} and inodes == {p: p.stat().st_ino for p in undisturbed.rglob("*.mp4")}
    prepare(source, tmp_path / "again", SMALL, workers=1, progress=False)
    assert files(tmp_path / "again") == files(undisturbed) and tables(tmp_path / "again") == tables(undisturbed)


def test_a_source_that_changed_is_done_again(source, tmp_path):
    src, dst = shutil.copytree(source, tmp_path / "src"), tmp_path / "dst"
    prepare(src, dst, SMALL, workers=0, progress=False)
    before = files(dst)
    victim = src / "train/a/00.mp4"
    write_video(victim, wave(30), fps=25)
    os.utime(victim, (1e9, 1e9))
    report = prepare(src, dst, SMALL, workers=0, progress=False)
    after = files(dst)
    assert report.done == 12 and {k for k in after if after[k] != before[k]} == {"train/a/00.mp4", "prepared.json"} and len(Video(dst / "train/a/00.mp4")) == 12


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_killed_at_any_moment_it_leaves_whole_files_and_goes_on(source, undisturbed, tmp_path, seed):
    chance, whole = random.Random(seed), files(undisturbed)
    dst = tmp_path / "out"
    job = start(source, dst, "--workers", 2)
    enough = chance.randrange(0, 9)  # copies that are there when it is killed
    while job.poll() is None and len(list(dst.rglob("*.mp4"))) < enough: time.sleep(0.002)
    time.sleep(chance.random() * 0.05)
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate()
    there = {p.relative_to(dst).as_posix(): p.read_bytes() for p in dst.rglob("*.mp4")} if dst.exists() else {}
    assert job.returncode == -signal.SIGKILL and enough <= len(there) < 12
    for name, content in there.items(): assert content == whole[name], name  # no half-made file ever has its name
    inodes = {name: (dst / name).stat().st_ino for name in there}
    dst.mkdir(exist_ok=True)
    old = dst / ".0123.part"
    old.write_bytes(b"of a run killed long ago")
    os.utime(old, (time.time() - 7200,) * 2)
    if not (dst / "prepared.json").exists(): old.unlink()  # killed before it began
    for part in dst.rglob(".*.part"): os.utime(part, (time.time() - 7200,) * 2)
    assert prepare(source, dst, SMALL, workers=2, progress=False).done == 12
    assert files(dst) == whole and tables(dst) == tables(undisturbed)  # nothing half-made is left either
    assert all((dst / name).stat().st_ino == inodes[name] for name in there)  # and nothing was done twice


def test_parts_of_a_run_that_may_still_live_are_left_alone(source, undisturbed, tmp_path):
    dst = shutil.copytree(undisturbed, tmp_path / "out")
    (dst / "train/a/.young.part").touch()
    prepare(source, dst, SMALL, workers=0, progress=False)
    assert (dst / "train/a/.young.part").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_workers_end_with_a_command_that_is_killed(source, tmp_path):
    job = start(source, tmp_path / "out", "--workers", 2)
    workers = lambda: [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _group(p) == job.pid]
    try:
        while job.poll() is None and not list((tmp_path / "out").rglob("*.mp4")): time.sleep(0.01)
        job.kill()  # it alone, as the kernel does where memory runs out
        job.wait()
        for _ in range(100):
            if not workers(): break
            time.sleep(0.1)
        assert not workers()
    finally:
        if workers(): os.killpg(job.pid, signal.SIGKILL)


def _group(proc):
    "The process group of a living process."
    try: fields = (proc / "stat").read_text().rsplit(")", 1)[1].split()
    except OSError: return None
    return None if fields[0] == "Z" else int(fields[2])


def noisy(n=60): return np.random.default_rng(0).integers(0, 255, (n, 96, 128, 3), np.uint8)


@pytest.mark.skipif(os.name != "posix", reason="needs limits on the size of files")
def test_a_full_disk_is_one_line_and_later_it_goes_on(source, tmp_path):
    "A limit on the size of files stands for the disk: copies of noise do not fit."
    src, dst, limit = shutil.copytree(source, tmp_path / "src"), tmp_path / "out", 60_000
    write_video(src / "train/b/zz_noise.mp4", noisy(), fps=10)
    job = start(src, dst, "--workers", 1, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    out, err = job.communicate(timeout=60)
    lines = [line for line in err.splitlines() if line]
    assert job.returncode == 2 and len(lines) == 1 and "Traceback" not in err, err
    assert lines[0].startswith(f"vidcls: no space is left at {dst}/train/b (") and lines[0].endswith("make room and run the same command again: it goes on where it stopped")
    done = {p: p.stat().st_ino for p in dst.rglob("*.mp4")}
    assert len(done) >= 1 and not list(dst.rglob(".*.part")) and all(len(Video(p)) > 15 for p in done)
    assert prepare(src, dst, SMALL, workers=2, progress=False).done == 13
    assert all(p.stat().st_ino == inode for p, inode in done.items())


def test_too_little_room_is_said_before_the_work_begins(source, tmp_path, monkeypatch, capsys):
    import vidcls.prepare as module
    usage = shutil.disk_usage
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(path)._replace(free=3000))
    code, out, err = run_cli(capsys, "prepare", source, tmp_path / "out", *FLAGS, "--workers", 1)
    assert code == 2 and "the copies need about" in err and "has 3 kB left; make room" in err and not list((tmp_path / "out").rglob("*.mp4"))


@pytest.fixture
def spoilt(source, tmp_path):
    "The data set with one broken file of each kind."
    src = shutil.copytree(source, tmp_path / "spoilt")
    (src / "train/a/zero.mp4").touch()
    (src / "train/a/text.mp4").write_text("no video")
    whole = write_video(tmp_path / "whole.mp4", noisy(30), fps=10)
    (src / "train/b/half.mp4").write_bytes(whole.read_bytes()[:whole.stat().st_size // 2])
    data = bytearray(whole.read_bytes())  # a good header, and nothing in the second half
    a, z = data.find(b"mdat"), data.find(b"moov") - 8
    data[a + (z - a) // 2:z] = bytes(z - a - (z - a) // 2)
    (src / "val/a/damaged.mp4").write_bytes(data)
    return src


def test_broken_videos_are_left_out_and_named(spoilt, tmp_path, capsys, undisturbed):
    code, out, err = run_cli(capsys, "prepare", spoilt, tmp_path / "out", *FLAGS, "--workers", 2)
    told = json.loads((tmp_path / "out/prepared.json").read_text())
    assert code == 0 and (told["videos"], told["prepared"]) == (16, 12)
    assert sorted(e["path"] for e in told["left_out"]) == ["train/a/text.mp4", "train/a/zero.mp4", "train/b/half.mp4", "val/a/damaged.mp4"]
    why = {e["path"]: e["why"] for e in told["left_out"]}
    assert why["train/a/zero.mp4"] == "the file has no bytes" and why["train/a/text.mp4"].startswith("this is not a video file") and why["val/a/damaged.mp4"].startswith("its pictures can't be decoded (decoding stops at")
    assert out.startswith("12 of 16 videos; ") and all(f"left out: {path}: {w}" in out for path, w in why.items())
    assert {k: v for k, v in files(tmp_path / "out").items() if k != "prepared.json"} == {k: v for k, v in files(undisturbed).items() if k != "prepared.json"}
    again, out2, _ = run_cli(capsys, "prepare", spoilt, tmp_path / "out", *FLAGS, "--workers", 2)
    assert again == 0 and json.loads((tmp_path / "out/prepared.json").read_text()) == told


def test_a_copy_of_what_has_broken_since_is_taken_away(source, tmp_path):
    src, dst = shutil.copytree(source, tmp_path / "src"), tmp_path / "dst"
    prepare(src, dst, SMALL, workers=0, progress=False)
    (src / "train/a/00.mp4").write_bytes(b"no video any more")
    assert [p for p, _ in prepare(src, dst, SMALL, workers=0, progress=False).left_out] == ["train/a/00.mp4"]
    assert not (dst / "train/a/00.mp4").exists() and all("00.mp4" not in path for path, _ in find_videos(dst)["train"])


def test_when_nothing_can_be_prepared_it_is_said(tmp_path, capsys):
    (tmp_path / "src/train/a").mkdir(parents=True)
    (tmp_path / "src/train/a/x.mp4").write_bytes(b"x")
    code, out, err = run_cli(capsys, "prepare", tmp_path / "src", tmp_path / "out", "--workers", 1)
    assert code == 2 and "none of the 1 videos in" in err and "train/a/x.mp4: this is not a video file" in err and err.count("\n") == 1


def no_override():
    "Take from a child process of root the right to write where nobody may; before exec."
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        if os.geteuid() == 0 and ctypes.CDLL(None).prctl(24, capability, 0, 0, 0): os._exit(77)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's capabilities to take rights from root")
def test_a_target_that_may_not_be_written_is_one_line(source, tmp_path):
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(0o555)
    job = start(source, tmp_path / "locked/out", preexec_fn=no_override)
    _, err = job.communicate(timeout=60)
    if job.returncode == 77: pytest.skip("this container gives root no right to give up rights")
    assert job.returncode == 2 and err.strip() == f"vidcls: can't use {tmp_path}/locked/out: Permission denied; choose a folder that can be written"


def test_targets_that_are_refused(source, undisturbed, tmp_path, capsys):
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").touch()
    before = files(undisturbed, tables=True)
    cases = [(tmp_path / "file/out", FLAGS, "can't use"), (tmp_path / "full", FLAGS, "is not empty, and no prepared data set"), (source, FLAGS, "source and target are both"),
             (undisturbed, [*FLAGS, "--crf", "30"], "was prepared with other settings (crf was 23, now 30)"), (undisturbed, [*FLAGS, "--short-side", "48"], "size was [48, 64], now None"),
             (tmp_path / "new", ["--gop", "0"], "0 frames between keyframes is not possible"), (tmp_path / "new", ["--crf", "99"], "quality 99 is not possible"), (tmp_path / "new", ["--frame-rate", "-1"], "frame rate -1"),
             (tmp_path / "new", ["--size", "0", "10"], "frame size (0, 10) is not possible")]
    for dst, flags, sentence in cases:
        code, _, err = run_cli(capsys, "prepare", source, dst, *flags)
        assert code == 2 and sentence in err and err.count("vidcls: ") == 1 and "Traceback" not in err, (dst, flags, err)
    code, _, err = run_cli(capsys, "prepare", tmp_path / "nowhere", tmp_path / "new")
    assert code == 2 and "there is no data at" in err
    assert files(undisturbed, tables=True) == before and not (tmp_path / "new").exists()


def test_a_dry_run_writes_nothing_and_knows_the_size(source, undisturbed, tmp_path, capsys):
    told, truth = prepare(source, tmp_path / "out", SMALL, workers=2, dry_run=True, progress=False), json.loads((undisturbed / "prepared.json").read_text())
    assert not (tmp_path / "out").exists() and told.estimated and told.done == 12 and told.before == truth["bytes_before"] and told.seconds > 0
    assert 1 / 3 < told.after / truth["bytes_after"] < 3
    code, out, _ = run_cli(capsys, "prepare", source, tmp_path / "out", *FLAGS, "--dry-run", "--workers", 1)
    assert code == 0 and not (tmp_path / "out").exists() and "would become about" in out and "of work here" in out


def test_a_csv_keeps_its_columns_splits_and_rows(source, tmp_path):
    paths = sorted(p.relative_to(source).as_posix() for p in source.rglob("*.*") if p.parent.parent.name in ("train", "val"))
    src = shutil.copytree(source, tmp_path / "src")
    outside = shutil.copy(src / paths[0], tmp_path / "out side, of it.mp4")
    rows = [dict(path=p, label=f"größe {k % 2}", split=("train", "val", "test")[k % 3], person=f'p"{k}', note="a, b" if k else "") for k, p in enumerate(paths)] + [dict(path=str(outside), label="größe 0", split="train", person="x", note="")]
    (src / "zero.mp4").touch()
    with open(src / "index.csv", "w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, list(rows[0]))
        writer.writeheader()
        writer.writerows([*rows, dict(path="zero.mp4", label="größe 1", split="train", person="y", note="")])
    for given, dst in ((src, tmp_path / "dst"), (src / "index.csv", tmp_path / "dst2")):
        report = prepare(given, dst, SMALL, workers=2, progress=False)
        with open(dst / "index.csv", newline="", encoding="utf-8") as f: copied = list(csv.DictReader(f))
        assert report.left_out == [("zero.mp4", "the file has no bytes")] and len(copied) == len(rows)
        assert [{k: v for k, v in row.items() if k != "path"} for row in copied] == [{k: v for k, v in row.items() if k != "path"} for row in rows]
        assert all((dst / row["path"]).is_file() and not Path(row["path"]).is_absolute() for row in copied)
        assert [row["path"].removesuffix(".mp4") for row in copied[:-1]] == [p.removesuffix(".mp4") for p in paths] and copied[-1]["path"].startswith("videos/")
        assert {s: len(v) for s, v in find_videos(dst).items()} == {"train": 5, "val": 4, "test": 4}


def test_splits_left_to_chance_stay_what_they_were(source, tmp_path):
    src = shutil.copytree(source, tmp_path / "src")
    paths = sorted(p.relative_to(src).as_posix() for p in src.rglob("*.*") if p.is_file() and p.suffix in (".mp4", ".mkv", ".avi"))
    (src / "index.csv").write_text("path,label\n" + "".join(f"{p},x\n" for p in paths))
    prepare(src, tmp_path / "dst", SMALL, workers=2, progress=False)
    assert names(find_videos(src)) == names(find_videos(tmp_path / "dst")) and len(names(find_videos(src))) == 2


KINDS = {  # frames and how they are written
    "12.5": (wave(40), dict(fps=12.5)), "25": (wave(60, speed=3), dict(fps=25)), "30": (wave(60, speed=3), dict(fps=30)), "29.97": (wave(60, speed=3), dict(fps=Fraction(30000, 1001))), "15": (wave(40), dict(fps=15)),
    "60": (wave(120, speed=2), dict(fps=60)), "5": (wave(15, speed=12), dict(fps=5)), "vfr": (wave(50), dict(times=np.cumsum([0, *np.random.default_rng(1).uniform(0.02, 0.2, 49)]))),
    "late": (wave(40), dict(fps=25, start=0.7)), "90": (wave(40), dict(rotation=90)), "180": (wave(40), dict(rotation=180)), "270": (wave(40), dict(rotation=270)), "odd": (wave(40, 95, 127), dict(fps=25)),
    "10 bit": (wave(40), dict(pix_fmt="yuv420p10le")), "full range": (wave(40), dict(pix_fmt="yuvj420p")), "444": (wave(40), dict(pix_fmt="yuv444p")), "mpeg4": (wave(40), dict(codec="mpeg4", options={"qscale": "2"})),
}


def grey(clip): return clip.astype(int).mean(-1)


def assert_same_clips(original, copy, rate, size, starts, close, k=8):
    "Clips of the copy are those of the original, and not those of one frame earlier or later."
    with Video(original, size=size, planar=True) as a, Video(copy, size=size, planar=True) as b:
        assert abs(len(b) - a.duration * rate) <= 1
        for start in starts:
            right, mine = grey(a.clip(Fraction(start, rate), k, rate)), grey(b.clips([start], k, rate)[0])
            error = np.abs(mine - right).mean()
            assert error < close, (start, error)
            for off in (-1, 1):
                if not 0 < start < len(b) - k - 1: continue
                wrong = grey(a.clip(Fraction(start + off, rate), k, rate))
                if np.abs(wrong - right).mean() > 3 * close: assert np.abs(mine - wrong).mean() > 2 * error, (start, off, error)


@pytest.mark.parametrize("kind", KINDS)
def test_clips_from_the_copy_are_those_from_the_original(kind, tmp_path):
    frames, how = KINDS[kind]
    original = write_video(tmp_path / "original.mp4", frames, crf=10, **how)
    for name, config in dict(full=PrepareConfig(size=(96, 128), crf=12), odd=PrepareConfig(size=(47, 63), crf=12), short=PrepareConfig(short_side=48, crf=12)).items():
        copy = tmp_path / f"{name}.mp4"
        assert transcode(original, copy, config) == copy.stat().st_size
        with Video(original, size=config.short_side or config.size) as a: size = a.shape[:2]
        assert probe(copy).height == size[0] + size[0] % 2 and probe(copy).width == size[1] + size[1] % 2  # H.264 knows even numbers only
        assert_same_clips(original, copy, 15, size, (0, 3, 9), 2.5)


def test_colours_stay_where_they_are_at_odd_sizes(tmp_path):
    "The recipe's 171 is odd, and H.264 keeps colours at half of that."
    original, error = write_video(tmp_path / "original.mp4", wave(8, tints=(1, -1, 0.5)), crf=4), {}
    for width in (63, 64):
        transcode(original, tmp_path / "copy.mp4", PrepareConfig(size=(48, width), frame_rate=25, crf=4))
        with Video(original, size=(48, width), planar=True) as a, Video(tmp_path / "copy.mp4", size=(48, width), planar=True) as b: error[width] = np.abs(a[:].astype(int) - b[:])[..., -16:, :].mean()
    assert error[63] < 1.5 * error[64] + 1, error


def test_a_copy_is_made_for_training(source, tmp_path):
    for path in sorted(source.rglob("*.mkv")) + sorted(source.rglob("*.avi"))[:1]:
        copy = tmp_path / f"{path.stem}.mp4"
        transcode(path, copy, SMALL)
        info = probe(copy)
        assert (info.fps, info.timing, info.codec, info.rotation, info.audio, info.start) == (10, "constant", "h264", 0, False, 0) and info.keyframe_gap <= 10
        assert probe(copy, thorough=False) == info  # its header says all
        with av.open(str(copy)) as c:
            kinds = [f.pict_type for f in c.decode(video=0)]
            assert len(kinds) == info.num_frames and kinds[0] == av.video.frame.PictureType.I and av.video.frame.PictureType.B not in kinds
            assert c.streams.video[0].codec_context.pix_fmt == "yuv420p" and c.streams.video[0].codec_context.has_b_frames == 0
        assert abs(copy.stat().st_mtime_ns - path.stat().st_mtime_ns) < 2e9
        first = copy.read_bytes()
        copy.unlink()
        transcode(path, copy, SMALL)
        assert copy.read_bytes() == first


def test_nothing_is_left_of_what_can_not_be_transcoded(spoilt, tmp_path):
    for name in ("train/a/zero.mp4", "train/a/text.mp4", "train/b/half.mp4", "val/a/damaged.mp4", "train/a/none.mp4"):
        with pytest.raises(VideoError): transcode(spoilt / name, tmp_path / "out/x.mp4", SMALL)
        assert not list((tmp_path / "out").iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(VidclsError, match="can't write .*/file/x.mp4: "): transcode(spoilt / "train/a/00.mp4", tmp_path / "file/x.mp4", SMALL)


def test_names_that_differ_in_suffix_or_case_alone_are_two_copies(source, tmp_path):
    src = tmp_path / "src/train/a"
    src.mkdir(parents=True)
    for name in ("x.mp4", "x.mkv", "X.mp4", "x.y.mp4"): shutil.copy(source / "train/a/00.mp4", src / name)
    assert prepare(tmp_path / "src", tmp_path / "dst", SMALL, workers=0, progress=False).done == 4
    assert len({p.name.casefold() for p in (tmp_path / "dst/train/a").iterdir()}) == 4


def test_real_videos_keep_their_frames(tmp_path):
    films = sorted(real("fights").rglob("*.mp4"))[::25]
    (tmp_path / "src").mkdir()
    (tmp_path / "src/index.csv").write_text("path,label,split\n" + "".join(f"{f},{f.parent.name},train\n" for f in films))
    report = prepare(tmp_path / "src", tmp_path / "dst", workers=2, progress=False)
    assert report.done == len(films) and not report.left_out
    with open(tmp_path / "dst/index.csv", newline="") as f: copies = [tmp_path / "dst" / row["path"] for row in csv.DictReader(f)]
    for original, copy in zip(films, copies):
        assert original.stem in copy.stem and probe(copy).keyframe_gap <= 15
        assert_same_clips(original, copy, 15, (128, 171), (0, 5), 8)
