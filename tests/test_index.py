"Whatever lies in the folders, the index goes through: one row per video, one line per problem, nothing probed twice, nothing lost."
import ctypes
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import real

import vidcls.index as module
from vidcls.clips import VidclsError
from vidcls.index import SCHEMA, VideoIndex, build_index, find_videos
from vidcls.mp4 import read_header
from vidcls.video import VideoError, probe, write_video


def moving(n=20, h=48, w=64):
    "A square that wanders over a ramp: little enough changes that H.264 makes use of P- and B-frames."
    frames = np.tile(np.arange(w, dtype=np.uint8)[None, None, :, None] * 3, (n, h, 1, 3))
    for i in range(n): frames[i, 10:26, 2 * i:2 * i + 16] = 220
    return frames


def remux(source, target, shift=0, **options):
    "The same packets in another file; muxer options as FFmpeg calls them."
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for p in old.demux(old.streams.video[0]):
            if p.dts is None: continue
            p.stream, p.pts, p.dts = stream, p.pts + shift, p.dts + shift
            new.mux(p)
    return target


def half(source, target):
    target.write_bytes(source.read_bytes()[:source.stat().st_size // 2])
    return target


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    "Files of every kind that FFmpeg writes, by name."
    folder, frames = tmp_path_factory.mktemp("made"), moving()
    def write(name, **kw): return write_video(folder / name, frames, **kw)
    files = [write("plain.mp4", options={"bf": "0"}), write("bframes.mp4", options={"bf": "3"}, gop=20), write("ntsc.mp4", fps=Fraction(30000, 1001)), write("odd.mov", fps=12.5), write("audio.mp4", audio=True),
             write("hevc.mp4", codec="libx265"), write("late.mp4", start=0.5), write("late_audio.mp4", start=0.5, audio=True), write("mpeg4.mp4", codec="mpeg4", options={"qscale": "2"})]
    files += [write(f"turned{a}.mp4", rotation=a) for a in (90, 180, 270)]
    files += [write("vfr.mp4", times=np.cumsum([0, *np.random.default_rng(0).uniform(0.02, 0.3, 19)])), write("vfr_bframes.mp4", times=np.cumsum(np.tile([0.04, 0.04, 0.12], 7)[:20]), options={"bf": "2"})]
    plain = {f.name: f for f in files}
    files.append(remux(plain["bframes.mp4"], folder / "fragments.mp4", movflags="frag_keyframe+empty_moov"))
    files.append(remux(plain["bframes.mp4"], folder / "fragments_late_moov.mp4", movflags="frag_keyframe"))
    files.append(remux(plain["bframes.mp4"], folder / "faststart.mp4", movflags="faststart"))
    files.append(remux(plain["bframes.mp4"], folder / "no_edits.mp4", use_editlist="0"))
    files.append(remux(plain["plain.mp4"], folder / "trimmed.mp4", shift=-3 * 512, avoid_negative_ts="disabled"))
    files.append(half(folder / "faststart.mp4", folder / "cut.mp4"))
    files.append(half(folder / "plain.mp4", folder / "cut_before_moov.mp4"))
    return {f.name: f for f in files}


def assert_header_is_ffmpegs(path, look=True) -> bool:
    "Compare what the header says with what FFmpeg demuxes and decodes; False where the reader leaves the file to FFmpeg."
    head = read_header(path)
    if head is None: return False
    with av.open(str(path), metadata_errors="ignore") as c:
        s, = c.streams.video
        packets = [(p.pts, p.is_keyframe) for p in c.demux(s) if p.size]
        assert head.times.tolist() == sorted(p for p, _ in packets), path
        assert head.keys.tolist() == [i for i, (_, key) in enumerate(packets) if key], path
        assert (head.codec, head.width, head.height, head.audio) == (s.codec_context.name, s.width, s.height, bool(c.streams.audio)), path
        assert Fraction(1, head.timescale) == s.time_base, path
    if not look: return True
    with av.open(str(path), metadata_errors="ignore") as c:
        c.streams.video[0].codec_context.thread_count = 1
        assert round(next(c.decode(video=0)).rotation) % 360 == head.rotation, path
    return True


def probed(path, thorough):
    try: return probe(path, thorough)
    except VideoError as e: return e.args


def test_the_header_says_what_ffmpeg_finds(made):
    read = {name for name, path in made.items() if assert_header_is_ffmpegs(path)}
    assert {"plain.mp4", "bframes.mp4", "ntsc.mp4", "odd.mov", "audio.mp4", "hevc.mp4", "turned90.mp4", "turned180.mp4", "turned270.mp4", "vfr.mp4", "faststart.mp4"} <= read
    head = read_header(made["bframes.mp4"])
    assert len(head.keys) == 1 and read_header(made["plain.mp4"]).keys.tolist() == [0, 12] and head.times.tolist() == [512 * i for i in range(20)]
    assert not read & {"fragments.mp4", "fragments_late_moov.mp4", "cut.mp4", "cut_before_moov.mp4", "mpeg4.mp4"}  # left to FFmpeg


def test_the_quick_look_says_what_the_thorough_one_says(made):
    for path in made.values(): assert probed(path, False) == probed(path, True), path
    assert probed(made["bframes.mp4"], False).num_frames == 20 and probed(made["turned90.mp4"], False).rotation == 90


def real_films(name): return sorted(p for p in real(name).rglob("*") if p.suffix in (".mp4", ".mov") and p.is_file())


@pytest.mark.parametrize("name", ["edge", "fights"])
def test_headers_of_real_files_say_what_ffmpeg_finds(name):
    films = real_films(name)
    read = sum(assert_header_is_ffmpegs(p, look=name == "edge" or k % 10 == 0) for k, p in enumerate(films))
    assert read >= len(films) // 2  # most of the world is plain


@pytest.mark.parametrize("name", ["edge", "fights"])
def test_the_quick_look_at_real_files_says_what_the_thorough_one_says(name):
    for path in real_films(name)[::1 if name == "edge" else 4]: assert probed(path, False) == probed(path, True), path


def write_csv(folder, rows, header="path,label,split"):
    (folder / "index.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder


def quoted(path): return '"' + str(path).replace('"', '""') + '"'


@pytest.mark.parametrize("name", ["edge", "fights"])
@pytest.mark.parametrize("workers", [0, 2])
def test_every_real_file_gets_its_row(name, workers, tmp_path):
    files = sorted(p for p in real(name).rglob("*") if p.is_file() and p.suffix.lower() in module.SUFFIXES | {".gif", ".mp3", ".h264"})
    if name == "fights" and not workers: files = files[::8]
    index = build_index(write_csv(tmp_path, [f"{quoted(p)},x,train" for p in files]), cache=True, workers=workers, progress=False)
    assert [index.path(i) for i in range(len(index))] == files
    refused = {p for p, _ in index.problems()}
    for i in range(0, len(files), 7):
        if index.key(i) not in refused: assert index.info(i) == probe(files[i])
    if name == "fights": assert not refused
    else: assert all(p.endswith((".webm", ".mp3")) for p in refused) and len(refused) == 6


ODD = ["plain", "two words", "it's", 'a "quoted" one', "größe", "类别", "comma, and; more", "100%d", "back\\slash", "-dash", "new\nline", "🙂", "a:b", "file:x"]


@pytest.fixture
def odd(made, tmp_path):
    "A data set whose classes and files have every name that a file system allows, and with one broken file of each kind."
    root = tmp_path / "odd"
    for name in ODD:
        for split in ("train", "val"):
            (root / split / name).mkdir(parents=True)
            shutil.copy(made["plain.mp4"], root / split / name / f"{name}.mp4")
    folder = root / "train/plain"
    (folder / "zero.mp4").touch()
    (folder / "text.mp4").write_text("this is no video\n" * 100)
    half(made["plain.mp4"], folder / "half.mp4")
    (folder / "self.mp4").symlink_to("self.mp4")
    (folder / "gone.mp4").symlink_to("nowhere.mp4")
    (folder / "loop").symlink_to(".")
    (folder / "deep/er").mkdir(parents=True)
    (folder / "deep/er/back").symlink_to("../..")
    shutil.copy(made["audio.mp4"], folder / "deep/er/good.mp4")
    (folder / "dir.mp4").mkdir()
    (folder / ".hidden.mp4").touch()
    (folder / "notes.txt").touch()
    (root / "train/self").symlink_to("self")
    return root


@pytest.mark.parametrize("workers", [0, 2])
def test_odd_names_and_broken_files_get_one_row_or_one_problem_each(odd, workers):
    index = build_index(odd, cache=True, workers=workers, progress=False)
    problems = dict(index.problems())
    assert {Path(p).name: why.split(" (")[0] for p, why in problems.items()} == {
        "zero.mp4": "the file has no bytes", "text.mp4": "this is not a video file, or its beginning is damaged", "half.mp4": "this is not a video file, or its beginning is damaged",
        "self.mp4": "the file may not be read", "gone.mp4": "there is no such file"}
    good = [index.key(i) for i in range(len(index)) if index.key(i) not in problems]
    assert sorted(good) == sorted([f"train/{n}/{n}.mp4" for n in ODD] + ["train/plain/deep/er/good.mp4"]) and index.classes == tuple(sorted(ODD))
    for i in range(len(index)):
        if index.key(i) in good: assert index.info(i).num_frames == 20 and index.classes[index.targets[i]] == index.key(i).split("/")[1]
    again = build_index(odd, cache=True, workers=workers, progress=False)
    assert again.table.equals(index.table) and len(build_index(odd, "val", cache=True, workers=workers, progress=False)) == len(ODD)


def test_odd_names_in_a_csv(odd):
    paths = sorted(p.relative_to(odd).as_posix() for p in odd.glob("train/*/*.mp4") if p.is_file() and p.stat().st_size > 100 and p.stem in ODD)
    (odd / "index.csv").write_text("\ufeffpath,label,split,note\n" + "".join(f"{quoted(p)},{quoted(p.split('/')[1])},train,\n" for p in paths), encoding="utf-8")
    index = build_index(odd, workers=0, progress=False)
    assert not index.problems() and [index.key(i) for i in range(len(index))] == sorted(paths) and index.classes == tuple(sorted(n.strip() for n in ODD))
    assert [index.classes[t] for t in index.targets] == [p.split("/")[1] for p in sorted(paths)]


def test_same_names_in_two_classes_are_two_videos(made, tmp_path):
    for label in "ab":
        (tmp_path / "train" / label).mkdir(parents=True)
        shutil.copy(made["plain.mp4" if label == "a" else "turned90.mp4"], tmp_path / "train" / label / "x.mp4")
    index = build_index(tmp_path, workers=0, progress=False)
    assert [(index.key(i), index.targets[i], index.info(i).rotation) for i in (0, 1)] == [("train/a/x.mp4", 0, 0), ("train/b/x.mp4", 1, 90)]


def no_override():
    "Take from a child process of root the right to read and write what nobody may; before exec."
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        if os.geteuid() == 0 and libc.prctl(24, capability, 0, 0, 0): os._exit(77)


def python(code, *args, **kw):
    "A script in a process of its own, killed after a minute."
    return subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, timeout=60, **kw)


BUILD = "import sys; from vidcls.index import build_index; i = build_index(sys.argv[1], cache=True, workers=2, progress=False); print(len(i), i.problems())"


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's capabilities to take rights from root")
def test_what_may_not_be_read_is_named_and_a_read_only_data_set_keeps_its_table_elsewhere(made, tmp_path):
    folder = tmp_path / "data/train/a"
    folder.mkdir(parents=True)
    for k in range(4): shutil.copy(made["plain.mp4"], folder / f"{k}.mp4")
    (folder / "1.mp4").chmod(0)
    (tmp_path / "data").chmod(0o555)
    done = python(BUILD, tmp_path / "data", preexec_fn=no_override, env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")})
    if done.returncode == 77: pytest.skip("this container gives root no right to give up rights")
    assert done.returncode == 0 and "4 [('train/a/1.mp4', 'the file may not be read" in done.stdout, done.stderr
    cache, = (tmp_path / "cache/vidcls").iterdir()
    assert pq.read_table(cache)["problem"].to_pylist() == [None, "permission", None, None] and not (tmp_path / "data/.vidcls").exists()
    (folder / "1.mp4").chmod(0o644)  # its size and time of change stay
    done = python(BUILD, tmp_path / "data", preexec_fn=no_override, env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert done.stdout.strip() == "4 []", done.stderr


def test_without_any_place_to_keep_it_the_table_is_built_all_the_same(few, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "access", lambda *a, **k: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(build_index(few, cache=True, workers=0, progress=False)) == 6
    err = capsys.readouterr().err
    assert err.startswith("vidcls: the index is not kept: ") and err.count("\n") == 1


@pytest.fixture
def few(made, tmp_path):
    "Six good videos of two classes."
    root = tmp_path / "few"
    for k in range(6):
        (root / "train" / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(made["plain.mp4"], root / "train" / "ab"[k % 2] / f"{k}.mp4")
    return root


@pytest.fixture
def looked(monkeypatch):
    "Names of the files that were probed, in order."
    names = []
    def counted(path, *args): names.append(Path(path).name); return probe(path, *args)
    monkeypatch.setattr(module, "probe", counted)
    return names


def build(root, **kw): return build_index(root, cache=True, progress=False, **dict(workers=0) | kw)


def test_only_what_changed_is_looked_at_again(few, made, looked):
    build(few)
    assert len(looked) == 6
    looked.clear()
    kept = (few / ".vidcls/train.parquet").stat()
    build(few)
    assert not looked and (few / ".vidcls/train.parquet").stat().st_ino == kept.st_ino  # not even written
    shutil.copy(made["bframes.mp4"], few / "train/a/0.mp4")  # another size
    os.utime(few / "train/b/1.mp4")  # another time
    shutil.copy(made["turned90.mp4"], few / "train/b/new.mp4")
    (few / "train/a/2.mp4").unlink()
    (few / "train/a/4.mp4").rename(few / "train/b/4.mp4")
    index = build(few)
    assert sorted(looked) == ["0.mp4", "1.mp4", "4.mp4", "new.mp4"]
    assert [index.key(i) for i in range(len(index))] == ["train/a/0.mp4", "train/b/1.mp4", "train/b/3.mp4", "train/b/4.mp4", "train/b/5.mp4", "train/b/new.mp4"]
    assert index.info(5).rotation == 90 and index.targets.tolist() == [0, 1, 1, 1, 1, 1]
    assert pq.read_table(few / ".vidcls/train.parquet").equals(index.table.combine_chunks()) or pq.read_table(few / ".vidcls/train.parquet").to_pylist() == index.table.to_pylist()


def test_other_labels_need_no_new_look(few, looked):
    write_csv(few, [f"train/{'ab'[k % 2]}/{k}.mp4,{'ab'[k % 2]},train" for k in range(6)])
    build(few)
    looked.clear()
    write_csv(few, [f"train/{'ab'[k % 2]}/{k}.mp4,{'xyz'[k % 3]},train" for k in range(6)])
    index = build(few)
    assert not looked and index.classes == ("x", "y", "z") and [index[i]["label"] for i in range(6)] == ["x", "z", "y", "y", "x", "z"]
    assert pq.read_table(few / ".vidcls/train.parquet")["label"].to_pylist() == ["x", "z", "y", "y", "x", "z"]


def test_bad_contents_are_known_but_what_may_pass_is_tried_again(few, made, monkeypatch, looked):
    (few / "train/a/text.mp4").write_text("no video")
    (few / "train/a/zero.mp4").touch()
    (few / "train/a/gone.mp4").symlink_to("nowhere.mp4")
    counted = module.probe
    def refuse(path, *args):
        if path.endswith("1.mp4"): looked.append("1.mp4"); raise VideoError(path, "permission")
        return counted(path, *args)
    monkeypatch.setattr(module, "probe", refuse)
    assert len(build(few).problems()) == 4
    looked.clear()
    assert len(build(few).problems()) == 4 and looked == ["1.mp4"]  # `gone` has not even a size
    monkeypatch.setattr(module, "probe", counted)
    shutil.copy(made["plain.mp4"], few / "train/a/nowhere.mp4")
    looked.clear()
    assert len(build(few).problems()) == 2 and sorted(looked) == ["1.mp4", "gone.mp4", "nowhere.mp4"]
    shutil.copy(made["plain.mp4"], few / "train/a/text.mp4")  # mended
    looked.clear()
    assert [Path(p).name for p, _ in build(few).problems()] == ["zero.mp4"] and looked == ["text.mp4"]


def test_an_interrupted_index_goes_on_where_it_stopped(few, looked, monkeypatch):
    counted = module.probe
    def interrupt(path, *args):
        if len(looked) == 4: raise KeyboardInterrupt
        return counted(path, *args)
    monkeypatch.setattr(module, "probe", interrupt)
    with pytest.raises(KeyboardInterrupt): build(few)
    first, looked[:] = set(looked), []
    monkeypatch.setattr(module, "probe", counted)
    index = build(few)
    assert len(first) == 4 and len(looked) == 2 and not first & set(looked) and not index.problems() and len(index) == 6
    assert not list((few / ".vidcls").glob("*.part*"))


SLOW = """
import sys, time, vidcls.index as module
module._KEEP_EVERY, look = float(sys.argv[2]), module.probe
def slow(path, *args): time.sleep(float(sys.argv[3])); print(path, flush=True); return look(path, *args)
module.probe = slow
index = module.build_index(sys.argv[1], cache=True, workers=int(sys.argv[4]), progress=False)
print("rows", len(index), len(index.problems()), index.fingerprint())
"""


def many(root, made, n):
    (root / "train/a").mkdir(parents=True)
    for k in range(n): os.link(made["plain.mp4"], root / f"train/a/{k:03}.mp4")
    return root


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_index_goes_on_where_it_was_kept(made, tmp_path, looked):
    root = many(tmp_path / "many", made, 40)
    job = subprocess.Popen([sys.executable, "-c", SLOW, root, "0", "0.02", "0"], stdout=subprocess.PIPE, text=True)
    for _ in range(20): job.stdout.readline()
    job.send_signal(signal.SIGKILL)
    job.wait()
    kept = pq.read_table(root / ".vidcls/train.parquet").num_rows
    index = build(root)
    assert kept >= 18 and len(looked) == 40 - kept and len(index) == 40 and not index.problems()


def test_two_processes_may_build_the_same_table(made, tmp_path, looked):
    root = many(tmp_path / "many", made, 40)
    jobs = [subprocess.Popen([sys.executable, "-c", SLOW, root, "0", "0.01", workers], stdout=subprocess.PIPE, text=True) for workers in ("0", "2")]
    ends = [job.communicate(timeout=60)[0].splitlines()[-1] for job in jobs]
    index = build(root)
    assert [job.returncode for job in jobs] == [0, 0] and set(ends) == {f"rows 40 0 {index.fingerprint()}"}
    assert not looked and [p.name for p in (root / ".vidcls").iterdir()] == ["train.parquet"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs fork, so that workers see what the test replaced")
def test_a_file_that_brings_its_process_down_costs_itself_alone(made, tmp_path, monkeypatch):
    root = many(tmp_path / "many", made, 70)  # three hands full
    def deadly(path, *args):
        if path.endswith(("017.mp4", "050.mp4")): os._exit(1)
        return probe(path, *args)
    monkeypatch.setattr(module, "probe", deadly)
    index = build(root, workers=2)
    assert [Path(p).name for p, _ in index.problems()] == ["017.mp4", "050.mp4"] and "brings the process down" in index.problems()[0][1]
    assert len(index) == 70 and index.info(18).num_frames == 20


@pytest.mark.skipif(sys.platform != "linux", reason="needs fork, so that workers see what the test replaced")
def test_a_file_that_brings_its_process_down_does_so_once(few, monkeypatch):
    def deadly(path, *args):
        if path.endswith("3.mp4"): os._exit(1)
        return probe(path, *args)
    monkeypatch.setattr(module, "probe", deadly)
    build(few, workers=2)
    monkeypatch.setattr(module, "probe", probe)
    assert [p for p, _ in build(few).problems()] == ["train/b/3.mp4"]  # known by its size and time, like other bad contents


def test_an_exception_nobody_foresaw_costs_one_video(few, monkeypatch):
    def odd(path, *args):
        if path.endswith("3.mp4"): raise ZeroDivisionError("frames per nothing")
        return probe(path, *args)
    monkeypatch.setattr(module, "probe", odd)
    assert build(few).problems() == [("train/b/3.mp4", "its pictures can't be decoded (ZeroDivisionError: frames per nothing)")]


def test_the_kept_table_is_parquet_that_anyone_reads(few):
    index = build(few)
    file = few / ".vidcls/train.parquet"
    table = pq.read_table(file)
    assert file.read_bytes()[:4] == b"PAR1" == file.read_bytes()[-4:]
    assert table.column_names == SCHEMA.names and table.schema.metadata == {b"vidcls_index": str(module.VERSION).encode()}
    assert {f.type for f in table.schema} <= {pa.string(), pa.bool_(), pa.int16(), pa.int32(), pa.int64(), pa.float64(), pa.dictionary(pa.int32(), pa.string())}  # nothing opaque
    row = table.to_pylist()[0]
    assert row | dict(mtime_ns=0, file_size=0) == dict(
        path="train/a/0.mp4", label="a", split="train", container="mov,mp4,m4a,3gp,3g2,mj2", codec="h264", width=64, height=48, rotation=0, num_frames=20, fps_num=25, fps_den=1, timing="constant", start=0,
        time_base_num=1, time_base_den=12800, keyframe_gap=12, audio=False, duration=0.8, file_size=0, mtime_ns=0, problem=None, detail=None)
    assert row["file_size"] == (few / row["path"]).stat().st_size and row["mtime_ns"] == (few / row["path"]).stat().st_mtime_ns and index[0] == row


@pytest.mark.parametrize("spoil", ["version", "columns", "damage", "empty"])
def test_a_table_that_does_not_fit_is_made_anew(few, looked, spoil):
    right = build(few).table
    file = few / ".vidcls/train.parquet"
    table = pq.read_table(file)
    if spoil == "version": pq.write_table(table.replace_schema_metadata({"vidcls_index": "1"}), file)
    if spoil == "columns": pq.write_table(table.drop_columns(["rotation"]), file)
    if spoil == "damage": file.write_bytes(file.read_bytes()[:-20])
    if spoil == "empty": file.write_bytes(b"")
    looked.clear()
    assert build(few).table.equals(right) and len(looked) == 6


def test_an_index_travels_to_another_process(few):
    index = build(few)
    other = pickle.loads(pickle.dumps(index))
    assert other.table.equals(index.table) and other.classes == index.classes and other.info(3) == index.info(3) and (other.targets == index.targets).all() and other.fingerprint() == index.fingerprint()


def synthetic(n):
    "The table of a large data set."
    k = np.arange(n)
    columns = dict(path=[f"train/class {i % 400}/{i:011}.mp4" for i in k], label=[f"class {i % 400}" for i in k], split=["train"] * n, container=["mov"] * n, codec=["h264"] * n, width=[340] * n, height=[256] * n,
                   rotation=[0] * n, num_frames=[300] * n, fps_num=[30] * n, fps_den=[1] * n, timing=["constant"] * n, start=[0] * n, time_base_num=[1] * n, time_base_den=[15360] * n, keyframe_gap=[12] * n,
                   audio=[True] * n, duration=[10.] * n, file_size=k, mtime_ns=k, problem=[None] * n, detail=[None] * n)
    return pa.table([pa.array(v, f.type) if not pa.types.is_dictionary(f.type) else pa.array(v, pa.string()).dictionary_encode() for f, v in zip(SCHEMA, (columns[n] for n in SCHEMA.names))], schema=SCHEMA)


def test_a_large_index_holds_no_object_for_each_video():
    n, table = 100_000, synthetic(100_000)
    classes = [f"class {i}" for i in range(400)]
    tracemalloc.start()
    try:
        index = VideoIndex("/data", table, classes)
        good = index.usable()
        held, peak = tracemalloc.get_traced_memory()
    finally: tracemalloc.stop()
    assert held < 25 * n and len(good) == n  # two arrays of int64 for the classes, and little else
    assert index.targets[401] == 1 and index.info(99_999).path == "/data/train/class 399/00000099999.mp4"


def test_a_broken_class_too_many_broken_files_and_none_at_all_are_told_apart(few):
    for k in (0, 2, 4): (few / f"train/a/{k}.mp4").write_bytes(b"x")
    with pytest.raises(VidclsError, match="all videos of class a are broken"): build(few).usable(0.9)
    assert len(build(few).usable(1)) == 3
    for k in (1, 3, 5): (few / f"train/b/{k}.mp4").write_bytes(b"")
    with pytest.raises(VidclsError, match="none of the 6 videos"): build(few).usable(1)


def test_a_link_between_folders_is_followed_once(few, tmp_path):
    (few / "train/c").symlink_to(few / "train/a", target_is_directory=True)
    (few / "train/a/again").symlink_to(few / "train/a", target_is_directory=True)
    found = find_videos(few)["train"]
    assert [(p, label) for p, label in found if label != "b"] == [(f"train/{c}/{k}.mp4", c) for c in "ac" for k in (0, 2, 4)]
