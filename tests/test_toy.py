"Moving Shapes as files: the same bytes whatever made them, whole after an interruption, honest in what a still picture shows."
import json, os, subprocess, sys
from dataclasses import replace

import numpy as np
import pytest

from vidcls import toy
from vidcls.clips import VidclsError
from vidcls.toy import CLASSES, moving_shape, render, write_moving_shapes
from vidcls.video import Video, probe

SMALL = dict(num_train=3, num_val=2, progress=False)

def contents(root): return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}

def frames(path): return np.stack([np.asarray(f) for f in Video(path)])

@pytest.fixture(scope="module")
def made(tmp_path_factory): return write_moving_shapes(tmp_path_factory.mktemp("toy") / "a", **SMALL)

def test_layout(made):
    assert {p.name for p in made.iterdir()} == {"train", "val", "toy.json"}
    for split, n in (("train", 3), ("val", 2)):
        assert {p.name for p in (made / split).iterdir()} == set(CLASSES)
        for name in CLASSES: assert sorted(p.stem for p in (made / split / name).iterdir()) == [f"{name}_{k:05}" for k in range(n)]
    assert json.loads((made / "toy.json").read_text()) == dict(data="Moving Shapes", version=1, num_train=3, num_val=2, seed=0, hard=False,
        classes=[*CLASSES])

@pytest.mark.parametrize("workers", [1, 3])
def test_same_bytes_for_any_number_of_workers(made, tmp_path, workers):
    assert contents(write_moving_shapes(tmp_path / "b", workers=workers, **SMALL)) == contents(made)

def test_same_bytes_in_another_process(made, tmp_path):
    code = f"from vidcls.toy import write_moving_shapes; write_moving_shapes({str(tmp_path / 'b')!r}, num_train=3, num_val=2, progress=False)"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert contents(tmp_path / "b") == contents(made)

def test_a_video_depends_on_no_other(made, tmp_path):
    other = contents(write_moving_shapes(tmp_path / "b", num_train=1, num_val=1, progress=False))
    del other["toy.json"]
    assert len(other) == 16 and other.items() <= contents(made).items()

def test_some_classes_only(made, tmp_path):
    root = write_moving_shapes(tmp_path / "b", classes=("up", "down"), **SMALL)
    mine = {k: v for k, v in contents(made).items() if "/up/" in k or "/down/" in k}
    assert len(mine) == 10 and {k: v for k, v in contents(root).items() if k != "toy.json"} == mine
    with pytest.raises(VidclsError, match="classes=.*choose another folder"): write_moving_shapes(root, **SMALL)

def test_splits_seeds_and_variants_differ(made, tmp_path):
    mine = {k: v for k, v in contents(made).items() if k != "toy.json"}
    assert len(set(mine.values())) == len(mine)
    for change in (dict(seed=1), dict(hard=True)):
        other = contents(write_moving_shapes(tmp_path / str(change), **SMALL, **change))
        assert not set(mine.values()) & set(other.values())

def test_files_hold_what_was_drawn(made):
    for path in made.glob("*/*/*"):
        shape = moving_shape(path.parent.name, int(path.stem[-5:]), path.parts[-3])
        drawn, seen = render(shape), frames(path)
        assert seen.shape == drawn.shape, path
        assert np.abs(seen.astype(int) - drawn).mean() < 4, path
        assert probe(path).duration == pytest.approx(shape.times[-1] + 1 / float(shape.rate), abs=.12), path

def test_uneven_times_survive(tmp_path):
    number = next(k for k in range(100) if moving_shape("left", k).uneven)
    shape = moving_shape("left", number)
    assert np.ptp(np.diff(shape.times)) * float(shape.rate) > 1
    toy._write(tmp_path, number, shape)
    path, = tmp_path.iterdir()
    moments = shape.times + 1e-3  # just after each frame appears, it is the one on screen
    video = Video(path)
    every = frames(path)
    for k in np.flatnonzero(moments < moments[-1] - 1 / 15)[::5]:  # a clip starts no later than the last tick of its rate
        seen = np.asarray(video.clip(start=float(moments[k]), num_frames=1, frame_rate=15)[0])
        assert np.array_equal(seen, every[k]), k

def test_variety():
    shapes = [moving_shape("up", k) for k in range(300)]
    assert {s.codec for s in shapes} == {"libx264", "mpeg4"} and {s.suffix for s in shapes} == {".mp4", ".avi"}
    assert {s.rate for s in shapes} == set(toy.RATES)
    for field, least in (("uneven", .05), ("audio", .05), ("mirror", .3)): assert least < np.mean([getattr(s, field) for s in shapes]) < 1 - least
    assert {s.height % 2 for s in shapes} == {s.width % 2 for s in shapes} == {0, 1}
    assert min(min(s.height, s.width) for s in shapes) >= 64 and max(max(s.height, s.width) for s in shapes) <= 128

def test_an_interruption_leaves_whole_files_and_the_rest_is_made_later(made, tmp_path, monkeypatch):
    root, done = tmp_path / "b", []
    def write(*args, **kwargs):
        if len(done) == 10: raise KeyboardInterrupt
        done.append(original(*args, **kwargs))
    original = toy.write_video
    monkeypatch.setattr(toy, "write_video", write)
    with pytest.raises(KeyboardInterrupt): write_moving_shapes(root, workers=1, **SMALL)
    part = contents(root)
    assert len(part) == 11 and part.items() <= contents(made).items()
    monkeypatch.undo()
    assert contents(write_moving_shapes(root, **SMALL)) == contents(made)

def test_a_finished_folder_is_not_written_again(made, monkeypatch):
    monkeypatch.setattr(toy, "write_video", lambda *a, **k: pytest.fail("written again"))
    assert write_moving_shapes(made, **SMALL) == made

@pytest.mark.parametrize("change", [dict(num_train=4), dict(num_val=1), dict(seed=1), dict(hard=True), dict(classes=("left", "right"))])
def test_other_settings_are_refused(made, change):
    before = contents(made)
    with pytest.raises(VidclsError, match=f"{[*change][0]}=.*choose another folder"): write_moving_shapes(made, **{**SMALL, **change})
    assert contents(made) == before

def test_foreign_folders_and_places_are_refused(made, tmp_path):
    (tmp_path / "holiday.mp4").write_bytes(b"mine")
    with pytest.raises(VidclsError, match="'holiday.mp4' but no toy.json"): write_moving_shapes(tmp_path, **SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.mp4"]
    for place in (tmp_path / "holiday.mp4", tmp_path / "holiday.mp4" / "toy"):
        with pytest.raises(VidclsError, match="can't write Moving Shapes.*choose a folder"): write_moving_shapes(place, **SMALL)
    for text in ("{", "[]", "{}"):
        note = tmp_path / "c" / "toy.json"; note.parent.mkdir(exist_ok=True); note.write_text(text)
        with pytest.raises(VidclsError, match="choose another folder"): write_moving_shapes(note.parent, **SMALL)
    for wrong in (dict(num_train=0), dict(num_val=-1)):
        with pytest.raises(VidclsError, match="at least 1 video"): write_moving_shapes(tmp_path / "d", **{**SMALL, **wrong})
    for wrong in ((), ("sideways",)):
        with pytest.raises(VidclsError, match="give some of left"): write_moving_shapes(tmp_path / "d", classes=wrong, **SMALL)
    assert not (tmp_path / "d").exists()

@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(VidclsError, match="Permission denied; choose a folder"): write_moving_shapes(tmp_path / "toy", **SMALL)

@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("name", CLASSES)
def test_backwards_is_the_twin(name, hard):
    twin = next(n for n in CLASSES if n != name and CLASSES[n][0] == CLASSES[name][0])
    seconds = np.linspace(0, 1.3, 14)
    for k in range(5):
        shape = moving_shape(name, k, hard=hard)
        end = tuple((np.array(shape.start) + seconds[-1] * shape.velocity) % 1)
        back = render(replace(shape, label=twin, start=end), seconds)[::-1]
        assert (np.abs(back.astype(int) - render(shape, seconds)).max(-1) > 8).mean() < 1e-3

@pytest.mark.parametrize("hard", [False, True])
def test_twins_differ_in_nothing_but_what_runs(hard):
    for k in range(20):
        shapes = [moving_shape(name, k, hard=hard) for name in CLASSES]
        assert len({replace(s, label="", speed=0) for s in shapes}) == 1
        first = [render(s, [0]) for s in shapes[:2] + shapes[-1:]]
        assert np.array_equal(first[0], first[1]) and np.array_equal(first[0], first[2])
        for s in shapes: assert np.abs(np.diff(render(s, [0, .1]).astype(int), axis=0)).max() > (10 if hard else 30)  # and it is seen to run

@pytest.mark.parametrize("seconds", [0, .37, 1.9])
def test_every_pose_is_as_likely_at_any_moment(seconds):
    for name in CLASSES:
        phases = np.array([(np.array(s.start) + seconds * s.velocity) % 1 for s in (moving_shape(name, k) for k in range(600))])
        largest = np.abs(np.sort(phases, axis=0) - (np.arange(600)[:, None] + .5) / 600).max()  # Kolmogorov and Smirnov's distance
        assert largest < .08, (name, largest)  # p = 0.001 for one; fixed numbers, so it can't flicker

def test_coding_leaves_no_trail_to_speak_of(made):
    "The picture's error just behind a moving shape is no larger, to speak of, than just ahead of it."
    ahead, behind = [], []
    for path in [*made.glob("train/left/*"), *made.glob("train/right/*"), *made.glob("val/left/*"), *made.glob("val/right/*")]:
        shape = moving_shape(path.parent.name, int(path.stem[-5:]), path.parts[-3])
        drawn = render(shape)
        error = np.abs(frames(path).astype(float) - drawn).mean(-1)
        body = np.abs(drawn - toy.render_ground(shape)).max(-1) > 3
        right, left = (np.logical_or.reduce([np.roll(body, sign * d, 2) for d in (2, 3, 4)]) & ~body for sign in (1, -1))
        fore, aft = (right, left) if shape.label == "right" else (left, right)
        ahead.append(error[fore & ~aft].mean()); behind.append(error[aft & ~fore].mean())
    assert np.mean(behind) < 4 and np.mean(behind) < 1.35 * np.mean(ahead), (np.mean(ahead), np.mean(behind))
