"Whatever ends a training, the same command goes on to the same bits: the short version of `python tests/kill_test.py`."
import random
import shutil
import signal
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from kill_test import Trainings, Warm, kill_after, kill_while_saving, point_damaged, point_no_room, point_out_of_time, point_signal, random_kill

from vidcls.checkpoint import Run
from vidcls.clips import VidclsError


@pytest.fixture(scope="module")
def warm():
    with Warm() as warm: yield warm


@pytest.fixture(scope="module")
def folder(tmp_path_factory): return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def alone(warm, folder):
    t = Trainings(warm, folder, workers=2)
    t.seconds = t.leave_alone()
    return t


@pytest.fixture(scope="module")
def two(warm, folder, alone):
    t = Trainings(warm, folder, processes=2, workers=0)
    t.seconds = t.leave_alone(real=False)
    return t


@pytest.fixture
def rng(request): return random.Random(request.node.name)


def check(point):
    story, wrong = point
    print(story)
    assert not wrong, "\n".join([story, *wrong])


def test_a_run_that_is_made_longer_goes_on_to_the_same_weights(alone):
    folder = alone.new()
    alone.finish("--epochs", "1")
    assert len(Run(folder).records()) == 1
    alone.finish()
    assert not alone.wrong()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_goes_on_to_the_same_bits(alone, rng, workers):
    folder, flags = alone.new(), ("--save-every", "2", "-j", workers)
    assert kill_while_saving(alone.start(folder, *flags), folder, 0, rng.uniform(0, 0.01)) != "not at all"
    random_kill(alone, alone.seconds, rng, *flags)
    alone.finish(*flags)
    assert not alone.wrong()


def test_two_processes_that_are_killed_go_on_to_the_same_bits(two, rng):
    folder, flags = two.new(), ("--save-every", "3")
    assert kill_while_saving(two.start(folder, *flags), folder, 0, rng.uniform(0, 0.01)) != "not at all"
    kill_after(two.start(folder, *flags), rng.uniform(0, two.seconds))
    two.finish(*flags)
    assert not two.wrong()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_saves_and_the_run_goes_on_to_the_same_bits(alone, rng, number): check(point_signal(alone, number, rng))


def test_a_signal_to_one_process_stops_both(two, rng): check(point_signal(two, signal.SIGTERM, rng, rank=1))


def test_out_of_time_again_and_again(alone): check(point_out_of_time(alone))


@pytest.mark.parametrize("how", ["truncated", "flipped"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_it(alone, rng, how): check(point_damaged(alone, how, rng))


@pytest.mark.parametrize("how", ["full disk", "read-only folder"])
def test_the_old_checkpoint_survives_where_no_new_one_can_be_written(alone, how): check(point_no_room(alone, how))


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_trackers_go_on_with_the_run(alone, rng):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    folder, flags = alone.new(), ("--save-every", "4", "--track", "tensorboard")
    assert kill_while_saving(alone.start(folder, *flags), folder, 0, 0.1) != "not at all"
    alone.finish(*flags)
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(r["step"], pytest.approx(r["loss"])) for r in Run(alone.whole).records("steps")]
    assert [e.step for e in events.Scalars("epoch/video_top1")] == [5, 10, 15] and not alone.wrong()


def test_a_save_that_is_killed_at_any_file_event_leaves_a_whole_checkpoint(warm, tmp_path):
    begun, event, killed, wrong = tmp_path / "begun", 0, True, []
    begun.mkdir()
    for number in (1, 2, 3): assert warm.start([begun, number, 0], tmp_path / "log", call="save").wait() == [0]
    while killed:
        event += 1
        folder = Path(shutil.copytree(begun, tmp_path / str(event)))
        killed = warm.start([folder, 4, event], tmp_path / "log", call="save").wait() == [-signal.SIGKILL]
        for name in ("last", "best"):
            kept, right = Run(folder).load(name), (3, 4) if killed else (4,)
            if not (kept.state["step"] == kept.model["weight"].min() == kept.model["weight"].max() and kept.state["step"] in right): wrong.append(f"killed at file event {event}, {name} is {kept.state}")
        assert warm.start([folder, 5, 0], tmp_path / "log", call="save").wait() == [0]
        left = sorted(str(f.relative_to(folder)) for f in [*folder.iterdir(), *folder.glob("older/*")])
        if Run(folder).load().state["step"] != 5 or left[:3] != ["best", "last", "older"] or left[3:] not in (["older/last-0000000003"], ["older/last-0000000004"]): wrong.append(f"killed at file event {event}, and saved again: {left}")
    assert event > 20 and not wrong, "\n".join(wrong)


def test_all_checkpoints_damaged_is_one_sentence(warm, tmp_path):
    for number in (1, 2): assert warm.start([str(tmp_path), number, 0], tmp_path.with_name("log"), call="save").wait() == [0]
    for file in tmp_path.rglob("model.safetensors"): file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(VidclsError, match="damaged"): Run(tmp_path).load()


def test_other_optimisers_precisions_and_frozen_norms_go_on_too(warm, tmp_path):
    t = Trainings(warm, tmp_path, workers=1, flags=("--optimizer", "adamw", "--lr", "0.003", "--lr-schedule", "cosine", "--precision", "bf16", "--freeze-norms", "--no-decay-norms", "--cutmix", "1", "--train-scales", "24", "26"))
    t.leave_alone(real=False)
    folder = t.new()
    assert kill_while_saving(t.start(folder, "--save-every", "3"), folder, 0, 0.002) != "not at all"
    t.finish("--save-every", "3")
    assert not t.wrong()


@pytest.mark.parametrize("event", [6, 12, 18, 30])
def test_overwriting_a_run_by_one_that_goes_on_from_another_mixes_nothing(alone, tmp_path, event):
    first, other = alone.new(), tmp_path / "other"
    alone.finish("--epochs", "1")
    assert not any(alone.start(other, "--epochs", "2", "--seed", "5").wait())
    flags, seen = ("--resume", first, "--overwrite"), []
    job = alone.start(other, *flags, die_at_file_event=[str(other), event])
    job.wait()
    if (other / "config.json").exists(): flags = flags[:2]  # the folder is the new run's already: the same command without --overwrite goes on
    assert alone.start(other, *flags).wait() == [0]
    alone.here = other
    assert not alone.wrong()


def test_a_signal_before_the_first_step_ends_it_at_once(warm, tmp_path):
    t = Trainings(warm, tmp_path)
    job = t.start(t.new())
    time.sleep(0.15)
    job.send(signal.SIGUSR1)
    assert job.wait() == [75] and "the same command goes on" in t.said()
