"The loader gives the same clips however many processes share the work, names what it can't decode and goes on, and never grows."
import gc
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import real
from torchvision.transforms import v2

import vidcls.data as module
from vidcls.clips import VidclsError
from vidcls.data import ClipLoader, EvalClips, EvalPlan, TrainClips, TrainPlan
from vidcls.index import VideoIndex, build_index
from vidcls.transforms import centre_crop
from vidcls.video import Video, write_video

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: /proc, or fork, so that workers see what the test replaced")
N = 14  # videos, of two classes
CUT = dict(clip_len=4, frame_rate=10, size=(24, 32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "Short videos that differ in brightness, length and rate; within each, every frame differs too."
    root = tmp_path_factory.mktemp("data")
    for k in range(N):
        frames = np.full((9 + k, 48, 64, 3), 10 + 15 * k, np.uint8)
        for i in range(len(frames)): frames[i, 4:20, 3 * (i % 20):3 * (i % 20) + 4] = 255
        (root / "train" / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        write_video(root / "train" / "ab"[k % 2] / f"{k:02}.mp4", frames, fps=(10, 12.5, 25)[k % 3], gop=5)
    return root


@pytest.fixture(scope="module")
def index(folder): return build_index(folder, workers=0, progress=False)


pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores, on purpose


def loader(index, batch=4, clips=3, workers=0, pinned=False, kind=TrainClips, cut=CUT, on_failure="skip", time_limit=60., prefetch=4, **plan):
    return ClipLoader(kind(index, clips_per_video=clips, on_failure=on_failure, time_limit=time_limit, **cut), TrainPlan(len(index), clips, batch, **plan), workers=workers, pin_memory=pinned, prefetch=prefetch)


def epoch(loader, number=0, first=0):
    loader.plan.epoch, loader.plan.first = number, first
    return list(loader)


def same(a, b):
    "Do two lists of batches agree in everything, pixel for pixel?"
    assert len(a) == len(b)
    for x, y in zip(a, b):
        for name in ("frames", "targets", "videos", "weights"): assert torch.equal(getattr(x, name), getattr(y, name)), name
        assert x.seeds.tolist() == y.seeds.tolist() and x.failed == y.failed
    return True


def clips_of(batches): return {int(s): (int(v), f.numpy().tobytes()) for b in batches for s, v, f, w in zip(b.seeds, b.videos, b.frames, b.weights) if w}


def rss(pid="self"): return int(open(f"/proc/{pid}/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@linux
@pytest.mark.parametrize("workers", [0, 2])
def test_memory_and_open_files_stay_flat_over_ten_thousand_clips(index, workers):
    batches, counted = loader(index, batch=20, clips=10, workers=workers, cut=CUT | dict(clip_len=2, size=(16, 16))), 0
    memory = None
    for e in range(-(-10_000 // (N * 10))):
        batches.plan.epoch = e
        for b in batches: counted += int(b.weights.sum())
        if memory is None and counted >= 2000:
            gc.collect()
            memory, files = rss(), len(os.listdir("/proc/self/fd"))
            children = [c.pid for c in multiprocessing.active_children()]
            before = [rss(pid) for pid in children]
    gc.collect()
    assert counted >= 10_000 and rss() - memory < 8_000_000 and len(os.listdir("/proc/self/fd")) == files
    assert [c.pid for c in multiprocessing.active_children()] == children and all(rss(pid) - b < 8_000_000 for pid, b in zip(children, before))


@linux
def test_a_loader_that_is_gone_leaves_no_process_and_no_file(index):
    def once():
        batches = loader(index, workers=2)
        for _, b in zip(range(2), batches): pass
        del batches, b
        gc.collect()
    once()
    files = len(os.listdir("/proc/self/fd"))
    for _ in range(5): once()
    assert len(os.listdir("/proc/self/fd")) < files + 3 and not multiprocessing.active_children()


LOAD = """
import sys, torchvision, torchvision.io, torch
torch.set_num_threads(2)
from vidcls.data import *; from vidcls.index import build_index
torch.nn.functional.conv2d(torch.randn(4, 3, 64, 64), torch.randn(8, 3, 3, 3))  # threads before workers are forked
index = build_index(sys.argv[1], workers=2, progress=False)
plan = TrainPlan(len(index), 2, 4)
batches = ClipLoader(TrainClips(index, clip_len=4, frame_rate=10, size=(24, 32), clips_per_video=2), plan, workers=2)
for plan.epoch in range(3): print(sum(len(b) for b in batches), sum(len(b.failed) for b in batches))
"""


def test_loading_beside_torchvision_ends(folder):
    done = subprocess.run([sys.executable, "-c", LOAD, folder], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.split() == ["28", "0"] * 3, done.stderr


def test_any_number_of_workers_gives_the_same_batches(index):
    plain = [epoch(loader(index), e) for e in (0, 1)]
    assert clips_of(plain[0]) != clips_of(plain[1])
    for workers in (1, 2, 3):
        batches = loader(index, workers=workers)
        for e in (0, 1): assert same(plain[e], epoch(batches, e)), (workers, e)


def test_clips_are_those_of_the_files(index):
    "The same numbers again, straight from the files: nothing is lost on the way through batches and shared memory."
    batches = loader(index, workers=2)
    for b in epoch(batches, 3):
        for video, frames, target in zip(b.videos.tolist(), b.frames, b.targets.tolist()):
            info = index.info(video)
            with Video(info.path, size=CUT["size"], planar=True) as v:
                starts = [v.clip(k / 10, 4, 10) for k in range(len(v))]
            assert sum(np.array_equal(frames.numpy(), clip) for clip in starts) >= 1 and "ab"[target] == index[video]["label"]


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("workers", [0, 2])
def test_any_number_of_processes_takes_the_same_steps(index, accumulate, workers):
    "Each step of the optimiser sees the same clips, whoever decodes them."
    total = 8  # clips in a step
    def steps(world, workers, e):
        ranks = [epoch(loader(index, batch=total // accumulate // world, accumulate=accumulate, rank=r, world_size=world, workers=workers), e) for r in range(world)]
        assert len({len(r) for r in ranks}) == 1  # in step
        for r in ranks: assert all(len(b) for b in r)
        found = []
        for i in range(0, len(ranks[0]), accumulate): found.append(clips_of(b for r in ranks for b in r[i:i + accumulate]))
        return found
    for e in (0, 1):
        alone = steps(1, 0, e)
        assert sum(map(len, alone)) == N * 3 and len({s for step in alone for s in step}) == N * 3  # every clip once
        for world in (2, 4) if workers == 0 else (2,): assert steps(world, workers, e) == alone, (world, e)


def test_accumulating_takes_the_same_steps_as_a_large_batch(index):
    def steps(batch, accumulate):
        found = epoch(loader(index, batch=batch, accumulate=accumulate))
        return [clips_of(found[i:i + accumulate]) for i in range(0, len(found), accumulate)]
    assert steps(8, 1) == steps(4, 2) == steps(2, 4)


@pytest.mark.parametrize("workers", [0, 2, 3])
def test_an_epoch_goes_on_from_its_middle(index, workers):
    whole = epoch(loader(index), 1)
    for first in (1, 5, len(whole) - 1):
        restored = loader(index, workers=workers)
        assert same(whole[first:], epoch(restored, 1, first))
    assert same(epoch(loader(index), 2), epoch(restored, 2)) and epoch(restored, 2, len(whole)) == []


@pytest.mark.parametrize("least", [False, True])
def test_an_abandoned_epoch_leaves_nothing_in_the_next(index, monkeypatch, least):
    "Workers are still writing clips of the old epoch when the new one begins."
    if least: little_memory(monkeypatch)
    plain, batches = [epoch(loader(index), e) for e in range(6)], loader(index, workers=2)
    for e in range(6):
        batches.plan.epoch, batches.plan.first = (e + 3) % 6, 0
        left = iter(batches)
        for _ in range(1 + e % 3): next(left)
        if e % 2: del left  # the other times it is still there, half done
        assert same(plain[e], epoch(batches, e)), e


def little_memory(monkeypatch): monkeypatch.setattr(TrainPlan, "draws_waiting", property(lambda self: 0))  # no place for clips that wait: they are copied


def test_little_shared_memory_gives_the_same_batches(index, monkeypatch):
    plain = [epoch(loader(index, window=8), e) for e in range(2)]
    little_memory(monkeypatch)
    for workers in (1, 2):
        batches = loader(index, workers=workers, window=8)
        for e in range(2): assert same(plain[e], epoch(batches, e))


@linux
def test_containers_with_little_shared_memory_do_not_matter(index):
    "Docker gives /dev/shm 64 MB; frames lie elsewhere, in this process and in the workers."
    running = iter(loader(index, workers=2))
    next(running)
    maps = [open(f"/proc/{pid}/maps").read() for pid in ("self", *(c.pid for c in multiprocessing.active_children()))]
    assert len(maps) == 3 and not any("torch_" in line for m in maps for line in m.splitlines() if "/dev/shm" in line)


def spoil(folder, tmp_path):
    "A copy of the data set, indexed, and then spoilt: one video gone, one replaced by another, one overwritten."
    root = shutil.copytree(folder, tmp_path / "spoilt")
    index = build_index(root, workers=0, progress=False)
    by_name = {index.key(i)[-6:-4]: i for i in range(len(index))}
    gone, other, mud = (index.path(by_name[n]) for n in ("02", "05", "09"))
    gone.unlink()
    shutil.copy(index.path(by_name["13"]), other)
    mud.write_bytes(b"\0" * mud.stat().st_size)
    return index, {by_name["02"]: f"{gone}: there is no such file", by_name["05"]: f"{other}: it is not the file that was indexed", by_name["09"]: f"{mud}: this is not a video file"}


@pytest.mark.parametrize("workers", [0, 2])
def test_what_breaks_after_indexing_is_skipped_and_named(folder, tmp_path, workers, index):
    spoilt, broken = spoil(folder, tmp_path)
    found, good = epoch(loader(spoilt, workers=workers)), clips_of(epoch(loader(index)))
    failed = [f for b in found for f in b.failed]
    assert Counter(v for v, _ in failed) == {v: 3 for v in broken} and all(why.startswith(broken[v]) for v, why in failed)
    assert clips_of(found) == {s: c for s, c in good.items() if c[0] not in broken}  # the others as if nothing had happened
    assert all(len(b) == 4 for b in found[:-1])  # and batches keep their size


@pytest.mark.parametrize("workers", [0, 2])
def test_what_breaks_after_indexing_is_replaced_by_its_class(folder, tmp_path, workers, index):
    spoilt, broken = spoil(folder, tmp_path)
    found, good = epoch(loader(spoilt, workers=workers, on_failure="replace")), clips_of(epoch(loader(index)))
    mine = clips_of(found)
    assert mine.keys() == good.keys() and not {v for v, _ in mine.values()} & broken.keys()  # every place is filled
    for b in found:
        for v, t in zip(b.videos.tolist(), b.targets.tolist()): assert spoilt.targets[v] == t
    stand_ins = [s for s in mine if mine[s] != good[s]]
    assert len(stand_ins) == 9 and all(spoilt.targets[mine[s][0]] == spoilt.targets[good[s][0]] for s in stand_ins)
    assert Counter(why.split(": ", 1)[0] for b in found for _, why in b.failed) == {w.split(": ", 1)[0]: 3 for w in broken.values()}  # named all the same


@pytest.mark.parametrize("workers", [0, 2])
def test_what_breaks_after_indexing_stops_the_run_where_asked(folder, tmp_path, workers):
    spoilt, broken = spoil(folder, tmp_path)
    with pytest.raises(VidclsError) as e: epoch(loader(spoilt, workers=workers, on_failure="stop"))
    assert any(str(e.value).startswith(why) for why in broken.values()) and str(e.value).endswith("the run stops at a clip that can't be decoded (policy stop); skip and replace go on")


def test_when_nothing_decodes_every_batch_is_empty_and_says_so(folder, tmp_path):
    root = shutil.copytree(folder, tmp_path / "gone")
    index = build_index(root, workers=0, progress=False)
    for i in range(len(index)): index.path(i).unlink()
    for workers in (0, 2):
        found = epoch(loader(index, workers=workers))
        assert [len(b) for b in found] == [0] * 11 and sum(len(b.failed) for b in found) == N * 3


@linux
@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_file_is_named(index, monkeypatch, workers):
    import av
    original = av.open
    def refuse(path, *args, **kw):
        if str(path).endswith("04.mp4"): raise PermissionError(13, "Permission denied")
        return original(path, *args, **kw)
    monkeypatch.setattr(av, "open", refuse)
    failed = [why for b in epoch(loader(index, workers=workers)) for _, why in b.failed]
    assert len(failed) == 3 and all("04.mp4: the file may not be read" in why for why in failed)


@linux
@pytest.mark.parametrize("workers", [0, 2])
def test_a_video_that_takes_too_long_is_given_up(index, monkeypatch, workers):
    import vidcls.video as video
    original = video._frames
    def slow(container, *args):
        for item in original(container, *args):
            if container.name.endswith("06.mp4"): time.sleep(0.1)
            yield item
    monkeypatch.setattr(video, "_frames", slow)
    began = time.monotonic()
    found = epoch(loader(index, workers=workers, time_limit=0.05))
    failed = [why for b in found for _, why in b.failed]
    assert len(failed) == 3 and all("06.mp4: decoding takes longer than the time limit (more than 0." in why for why in failed) and time.monotonic() - began < 5
    assert len(clips_of(found)) == (N - 1) * 3


class Deadly(TrainClips):
    "A data set in which one video brings its process down, as a fault in a decoder does."
    def take(self, draw, out=None):
        if self.index.key(draw[1]).endswith("08.mp4"): os._exit(1)
        return super().take(draw, out)


class Hanging(TrainClips):
    "A data set in which one video never comes back."
    def take(self, draw, out=None):
        if self.index.key(draw[1]).endswith("08.mp4"): time.sleep(60)
        return super().take(draw, out)


@linux
def test_a_worker_that_dies_is_one_sentence_not_a_hang(index, monkeypatch):
    began = time.monotonic()
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.5)  # how long torch waits for its workers to end
    with pytest.raises(VidclsError, match=r"^a worker died or hangs \(.*\) at or after train/.*\.mp4; if the machine runs out of memory, use fewer --workers or a smaller --batch-size; to see more, use --workers 0$"):
        epoch(loader(index, workers=2, kind=Deadly))
    gc.collect()
    assert time.monotonic() - began < 20 and not multiprocessing.active_children()


@linux
def test_a_worker_that_hangs_is_given_up(index, monkeypatch):
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.5)
    original = module.DataLoader
    monkeypatch.setattr(module, "DataLoader", lambda *a, timeout=0, **kw: original(*a, timeout=min(timeout, 2), **kw))
    with pytest.raises(VidclsError, match=r"^a worker died or hangs .* at or after train/a/08.mp4"): epoch(loader(index, workers=1, kind=Hanging))


def test_each_video_is_opened_once_in_an_epoch(index, monkeypatch):
    opened = []
    class Counted(Video):
        def __init__(self, path, **kw): opened.append(path); super().__init__(path, **kw)
    monkeypatch.setattr(module, "Video", Counted)
    for e in range(2):
        epoch(loader(index), e)
        assert len(opened) == len(set(opened)) == N
        opened.clear()
    for rank in range(2):
        epoch(loader(index, rank=rank, world_size=2))
        assert len(opened) == len(set(opened))
        opened.clear()
    clips = EvalClips(index, clips_per_video=3, **CUT)
    list(ClipLoader(clips, EvalPlan(N, 2), workers=0))
    assert len(opened) == len(set(opened)) == N


@pytest.mark.parametrize("window", [1, 2, 4])
def test_few_clips_wait(index, window):
    "The videos that wait with clips not yet used are bounded by the window, however long the epoch."
    large = VideoIndex(index.root, pa.concat_tables([index.table] * 30), index.classes)
    batches, most = loader(large, batch=4, clips=3, window=window), 0
    running = iter(batches)
    for _ in running: most = max(most, len(running.gi_frame.f_locals["waiting"]))
    assert most <= batches.plan.draws_waiting + 4 and most < len(large) / 4
    assert not running.gi_frame


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_validation_sees_each_video_once_over_all_processes(index, workers):
    for world in (1, 2, 4):
        found = [list(ClipLoader(EvalClips(index, clips_per_video=3, **CUT), EvalPlan(N, 3, rank=r, world_size=world), workers=workers)) for r in range(world if workers < 2 else 1)]
        seen = Counter(v for r in found for b in r for v in b.videos.tolist())
        if len(found) == world: assert seen == {v: 3 for v in range(N)}
        if workers and world == 1: assert same(list(ClipLoader(EvalClips(index, clips_per_video=3, **CUT), EvalPlan(N, 3), workers=0)), found[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_pinned_batches_reach_the_gpu_unchanged(index):
    plain, pinned = epoch(loader(index)), epoch(loader(index, workers=2, pinned=True))
    assert all(b.frames.is_pinned() for b in pinned) and same(plain, pinned)
    for a, b in zip(plain, pinned): assert torch.equal(a.frames, b.to("cuda").frames.cpu())


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
def test_without_a_gpu_nothing_is_pinned(index):
    assert not any(b.frames.is_pinned() for b in epoch(loader(index, workers=2)))


def test_real_clips_are_the_same_for_any_workers(tmp_path):
    files = sorted(real("fights").rglob("*.mp4"))[::25]
    (tmp_path / "index.csv").write_text("path,label,split\n" + "".join(f"{f},{f.parent.name},train\n" for f in files))
    index = build_index(tmp_path, workers=0, progress=False)
    kw = dict(batch=5, clips=2, cut=dict(clip_len=8, frame_rate=15, size=(36, 48)))
    assert same(epoch(loader(index, **kw)), epoch(loader(index, workers=2, **kw))) and len(clips_of(epoch(loader(index, **kw)))) == 2 * len(files)


SHAPES = dict(wide=(48, 86), wider=(36, 131), tall=(86, 48), square=(48, 48), small=(20, 26), odd=(49, 77))  # height and width


def disc(h, w):
    "A frame with a bright disc in the middle."
    y, x = np.mgrid[:h, :w]
    return np.where((y - (h - 1) / 2) ** 2 + (x - (w - 1) / 2) ** 2 < (0.4 * min(h, w)) ** 2, 235, 20)[..., None].repeat(3, -1).astype(np.uint8)


def ramp(h, w):
    "A frame whose grey says how far along the longer side one is."
    along = np.linspace(20, 235, max(h, w))
    return np.broadcast_to(along[:, None, None] if h > w else along[None, :, None], (h, w, 3)).round().astype(np.uint8)


def folder_of(root, paint, shapes=SHAPES, n=8):
    "An index of still films, one of each shape."
    for name, (h, w) in shapes.items():
        (root / "train" / "a").mkdir(parents=True, exist_ok=True)
        write_video(root / "train" / "a" / f"{name}.mp4", [paint(h, w)] * n, fps=10, crf=4)
    index = build_index(root, workers=0, progress=False)
    return index, {index.path(v).stem: v for v in range(len(index))}


def box(frame):
    "Height and width of what is bright."
    bright = np.asarray(frame)[..., 1] > 128
    return int(bright.any(1).sum()), int(bright.any(0).sum())


def test_the_shorter_side_keeps_the_aspect(tmp_path):
    "A disc stays a disc, whole in the middle, in wide and tall videos, enlarged or made smaller."
    index, number = folder_of(tmp_path, disc)
    for size in (24, 40, 64):
        clips = EvalClips(index, clip_len=3, frame_rate=10, size=(size,), clips_per_video=2)
        assert clips.size == (size,)
        for name, v in number.items():
            frames = clips[v].frames
            h, w = box(frames[1, 2])
            assert frames.shape == (2, 3, size, size, 3) and abs(h - w) <= 2 and abs(h - 0.8 * size) <= 2, (name, size, h, w)  # sizes are rounded down
    h, w = box(EvalClips(index, clip_len=3, frame_rate=10, size=(40, 40), clips_per_video=2)[number["wide"]].frames[0, 0])
    assert h > 1.5 * w  # squeezed, it does not


def test_one_number_is_the_shorter_side(index):
    one, two = (TrainClips(index, clip_len=4, frame_rate=10, size=size, clips_per_video=3) for size in (24, (24,)))
    assert one.size == two.size == (24,) and torch.equal(one[0, 1, (0, 1)].frames, two[0, 1, (0, 1)].frames)


@pytest.mark.parametrize("size", [0, (0,), (24, 0), (8, 8, 8), ()])
def test_impossible_sizes_are_explained(index, size):
    with pytest.raises(VidclsError, match="is not possible; give .height, width., or the length of the shorter side, in pixels"): EvalClips(index, clip_len=4, frame_rate=10, size=size, clips_per_video=1)


@pytest.mark.parametrize("name", ["wider", "tall"])
def test_training_squares_lie_anywhere_along_the_longer_side(tmp_path, name):
    "The grey of the square's first row or column says where it lies: all over the side, the same for all frames of a clip."
    h, w = SHAPES[name]
    n, longer, axis = min(h, w), max(h, w), -2 if h > w else -1
    index, number = folder_of(tmp_path, ramp, {name: (h, w)})
    clips = TrainClips(index, clip_len=3, frame_rate=10, size=(n,), clips_per_video=4)
    frames = torch.cat([clips[e, 0, range(4)].frames for e in range(60)])
    lines = frames[..., 1].float().mean(-2 if axis == -1 else -1)  # clips, T, n: grey along the longer side
    first = ((lines[..., 0] - 20) / 215 * (longer - 1))
    assert (first - first[:, :1]).abs().max() < 0.7  # all frames of a clip
    first = first[:, 0]
    assert (first.view(60, 4).std(1) > 1).float().mean() > 0.9  # clips of a video differ
    assert (lines.diff(dim=-1) > 0).float().mean() > 0.7 and abs(float((lines[..., -1] - lines[..., 0]).mean()) / 215 * (longer - 1) - (n - 1)) < 1  # not squeezed
    room = longer - n
    assert -1 < first.min() < 0.08 * room and 0.92 * room < first.max() < room + 1 and abs(first.mean() - room / 2) < 0.08 * room
    for quarter in range(4): assert 0.15 < ((first >= quarter * room / 4) & (first < (quarter + 1) * room / 4)).float().mean() < 0.35
    middle = (float(EvalClips(index, clip_len=3, frame_rate=10, size=(n,), clips_per_video=1)[0].frames[..., 1].float().mean((0, 1)).mean(-2 if axis == -1 else -1)[0]) - 20) / 215 * (longer - 1)
    assert abs(middle - room / 2) < 1


def test_squares_are_the_same_for_any_workers_processes_and_company(tmp_path):
    index, number = folder_of(tmp_path, ramp)
    cut = dict(clip_len=3, frame_rate=10, size=(24,))
    plain = [epoch(loader(index, cut=cut), e) for e in (0, 1)]
    assert clips_of(plain[0]) != clips_of(plain[1]) and len(clips_of(plain[0])) == 3 * len(SHAPES)
    for workers in (1, 2):
        batches = loader(index, workers=workers, cut=cut)
        for e in (0, 1): assert same(plain[e], epoch(batches, e))
    ranks = [epoch(loader(index, batch=2, rank=r, world_size=2, cut=cut)) for r in range(2)]
    assert clips_of(b for r in ranks for b in r) == clips_of(plain[0])
    assert same(plain[0][2:], epoch(loader(index, cut=cut), 0, 2))
    clips = TrainClips(index, clips_per_video=3, **cut)
    for k in range(3): assert torch.equal(clips[0, number["wide"], (k,)].frames[0], clips[0, number["wide"], (2, 1, 0)].frames[2 - k])
    judged = [list(ClipLoader(EvalClips(index, clips_per_video=2, **cut), EvalPlan(len(index), 2), workers=w)) for w in (0, 2)]
    assert same(*judged)


@pytest.mark.parametrize("h, w", [(32, w) for w in range(39, 48)] + [(41, 32), (42, 32), (33, 46), (33, 47)])
def test_the_middle_of_the_square_is_the_middle_of_the_frame(tmp_path, h, w):
    "Exactly where the crop leaves a multiple of four, as 256 to 224 does; else halves are rounded twice, and it may be one pixel beside."
    path = write_video(tmp_path / "v.mp4", np.random.default_rng(0).integers(0, 256, (2, h, w, 3), np.uint8), fps=10)
    for n in (min(h, w), 24, 27):
        with Video(path, size=n, planar=True) as video: whole = torch.from_numpy(video.clips([0], 2, 10))
        with module.open_video(path, (n,)) as video: square = torch.from_numpy(video.clips([0], 2, 10))
        assert torch.equal(square, centre_crop(whole, (n, n)))
        for c in range(n, n - 9, -1):
            crop, (top, left) = centre_crop(square, (c, c)), (round((full - c) / 2) for full in whole.shape[2:4])
            off = [(i, j) for i in (0, -1, 1) for j in (0, -1, 1) if torch.equal(crop, whole[:, :, max(top + i, 0):, max(left + j, 0):][:, :, :c, :c])]
            assert off and ((0, 0) in off or (n - c) % 4), (n, c, off)


def torchvision_view(path):
    "Resize(256) and CenterCrop(224) of the first two decoded frames, by torchvision and by us."
    with Video(path) as video: decoded = torch.from_numpy(video[:2]).permute(0, 3, 1, 2)
    with module.open_video(path, (256,)) as video: square = torch.from_numpy(video.clips([0], 2)[0])
    return v2.CenterCrop(224)(v2.Resize(256, antialias=True)(decoded)).permute(0, 2, 3, 1).float(), centre_crop(square, (224, 224)).float()


@pytest.mark.parametrize("h, w", [(360, 640), (640, 360), (240, 320), (120, 160), (90, 60), (256, 256), (256, 400)])
def test_squares_are_those_of_torchvision(tmp_path, h, w):
    y, x = np.mgrid[:h, :w] / min(h, w)
    film = np.stack([128 + 100 * np.sin(9 * x + t) * np.cos(7 * y + t) for t in range(2)])[..., None].repeat(3, -1)
    theirs, ours = torchvision_view(write_video(tmp_path / "v.mp4", film.astype(np.uint8), crf=4))
    assert ours.shape == (2, 224, 224, 3) and (ours - theirs).abs().max() <= 3
    assert (ours[:, :, 1:] - theirs[:, :, :-1]).abs().max() > 3 < (ours[:, 1:] - theirs[:, :-1]).abs().max()  # one pixel beside would be seen


def test_squares_of_real_videos_are_those_of_torchvision():
    for path in sorted(real("fights").rglob("*.mp4"))[::40]:
        theirs, ours = torchvision_view(path)
        assert (ours - theirs).abs().mean() < min(2, (ours[:, :, 1:] - theirs[:, :, :-1]).abs().mean() / 2), path
