"Processes that meet, wait, agree: who is missing is named, and another number of processes goes on with the same global batch."
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from kill_test import Trainings, Warm, free_port

from vidcls.checkpoint import Run
from vidcls.clips import VidclsError
from vidcls.config import TrainConfig, check_config
from vidcls.processes import from_slurm, rendezvous


@pytest.fixture(scope="module")
def warm():
    with Warm() as warm: yield warm


@pytest.fixture
def place(monkeypatch):
    "What a launcher tells process 0 of two."
    for name, value in dict(RANK=0, WORLD_SIZE=2, LOCAL_RANK=0, MASTER_ADDR="127.0.0.1", MASTER_PORT=free_port()).items(): monkeypatch.setenv(name, str(value))
    return monkeypatch


def test_a_process_that_does_not_come_is_named(place):
    began = time.monotonic()
    with pytest.raises(VidclsError, match="process 1 of 2 did not come to 127.0.0.1:.* within 0.5 s"): rendezvous(0.5)
    assert time.monotonic() - began < 10


def test_a_first_process_that_is_not_there_is_named(place):
    place.setenv("RANK", "1")
    with pytest.raises(VidclsError, match="process 1 of 2 can't reach process 0 at 127.0.0.1"): rendezvous(1.)


def test_a_launcher_that_does_not_tell_enough(place):
    place.delenv("MASTER_ADDR")
    with pytest.raises(VidclsError, match="MASTER_ADDR is not set; start the processes with torchrun"): rendezvous(1.)


def test_srun_needs_a_meeting_place():
    told = dict(SLURM_STEP_NUM_TASKS="4", SLURM_STEP_NUM_NODES="2", SLURM_PROCID="3", SLURM_LOCALID="1", SLURM_JOB_ID="12")
    with pytest.raises(VidclsError, match="export MASTER_ADDR"): from_slurm(told)
    assert from_slurm(told | dict(MASTER_ADDR="a", MASTER_PORT="5")) == dict(RANK="3", WORLD_SIZE="4", LOCAL_RANK="1", LOCAL_WORLD_SIZE="2", MASTER_PORT="5")


def test_a_process_that_hangs_is_named(warm, tmp_path):
    t = Trainings(warm, tmp_path, processes=2, flags=("--join-timeout", "5", "--epochs", "500", "--save-every", "1"))
    job = t.start(t.new())
    deadline = time.monotonic() + 60
    while not Run(t.here).has() and time.monotonic() < deadline and not job.ended(): time.sleep(0.05)
    job.send(signal.SIGSTOP, rank=1)
    while 0 not in [job.pids.index(pid) for pid in job.codes] and time.monotonic() < deadline + 60: job.ended(); time.sleep(0.05)
    codes = dict(job.codes)
    job.kill()
    assert codes == {job.pids[0]: 2}, t.said()
    assert "process 1 of 2 no longer answered" in t.said()
    assert Run(t.here).has()


def test_another_number_of_processes_keeps_the_global_batch(warm, tmp_path):
    flags = ("--model", "r2plus1d_tiny", "--freeze-norms", "--epochs", "2", "--print-freq", "1")  # without dropout, and with norms that see no batch
    t = Trainings(warm, tmp_path, processes=2, flags=flags)
    alone = Trainings(warm, tmp_path, processes=1, flags=("-b", "2", *flags))  # the same command, without a launcher
    assert t.start(t.new(), "--max-hours", "1e-7").wait() == [75, 75]
    assert Run(t.here).load().state["at"] == 2  # what was wished at the first step is known at the second
    alone.here = t.here
    alone.finish()
    assert "the run had 2 processes; its global batch stays 8" in t.said()
    whole = Trainings(warm, tmp_path, processes=1, flags=flags)
    whole.start(whole.new()).wait()
    for a, b in zip(Run(whole.here).records("steps"), Run(t.here).records("steps"), strict=True): assert a["loss"] == pytest.approx(b["loss"], rel=1e-4) and a["step"] == b["step"]
    three = warm.start([*t.flags, "--output-dir", t.here], tmp_path / "three.log", processes=3)
    assert three.wait() == [2, 2, 2]
    assert "3 processes do not fit the run's global batch of 8 clips" in (tmp_path / "three.log").read_text()


def test_what_only_one_process_knows_it_says_itself(place):
    done = subprocess.run([sys.executable, "-m", "vidcls.train", "--data-path", "x", "--device", "cpu", "--join-timeout", "1"], env=os.environ | dict(RANK="1"), capture_output=True, text=True)
    assert done.returncode == 2 and "vidcls: process 1: process 1 of 2 can't reach process 0" in done.stderr


def test_checkpoints_by_time_are_written_once_each(warm, tmp_path):
    t = Trainings(warm, tmp_path, processes=2, flags=("--epochs", "8", "--save-every", "0.005min", "--keep", "1000"))
    assert t.start(t.new()).wait() == [0, 0]
    steps = sorted(int(f.name.split("-")[1]) for f in (t.here / "older").iterdir())
    within = [s for s in steps if s % 5]  # the others end epochs
    assert within and not {s + 1 for s in within} & set(within), steps


def test_an_evaluation_may_take_one_process_longer_than_the_limit_of_a_step(warm, tmp_path):
    t = Trainings(warm, tmp_path, processes=2, flags=("--epochs", "1", "--join-timeout", "3"))
    assert t.start(t.new(), slow_evaluation=["1", "6"]).wait() == [0, 0], t.said()


def test_no_sync_bn_on_a_cpu(warm, tmp_path):
    t = Trainings(warm, tmp_path, processes=2)
    assert t.start(t.new(), "--sync-bn").wait() == [2, 2]
    assert t.said().count("--sync-bn needs GPUs") == 1


@pytest.mark.parametrize("wrong, sentence", [(dict(precision="fp16", device="cpu"), "no fast fp16"), (dict(save_every="often"), "give steps, such as 500"), (dict(train_scales=(20, 90)), "90"),
                                             (dict(keep=0), "at least 1"), (dict(max_hours=-1.), "positive"), (dict(ema_decay=1.), "between 0 and 1"), (dict(betas=(1., 0.9)), "less than 1")])
def test_settings_that_can_not_work(wrong, sentence):
    with pytest.raises(VidclsError, match=sentence): check_config(replace(TrainConfig(data_path="x", model="r2plus1d_tiny"), **wrong))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_fp16_needs_a_gpu():
    from vidcls.processes import start
    with pytest.raises(VidclsError, match="a CPU has no fast fp16"): start(TrainConfig(precision="fp16"))
