"What training promises: the recipe's commands run, bad input is one sentence, nothing is lost, a run goes on where it stopped."
import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import real

from vidcls.checkpoint import Run, load_model
from vidcls.cli import DEMO, main
from vidcls.clips import VidclsError
from vidcls.config import TrainConfig, parse_config, settled
from vidcls.toy import write_moving_shapes
from vidcls.train import evaluate_run, fit

SMALL = replace(DEMO, epochs=2, batch_size=8, workers=0, lr=0.02, lr_warmup_epochs=0, lr_milestones=())
FLAGS = ["--model", "r2plus1d_tiny", "--clip-len", "8", "--frame-rate", "8", "--clips-per-video", "1", "--train-resize-size", "36", "36", "--train-crop-size", "32", "32", "--val-resize-size", "36", "36",
         "--val-crop-size", "32", "32", "--hflip", "0", "-b", "8", "--epochs", "2", "--lr", "0.02", "--lr-warmup-epochs", "0", "--lr-milestones", "9", "-j", "0"]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return write_moving_shapes(tmp_path_factory.mktemp("train") / "shapes", num_train=6, num_val=2, classes=("left", "right", "up", "down"), progress=False)


@pytest.fixture
def copy(shapes, tmp_path): return Path(shutil.copytree(shapes, tmp_path / "shapes"))


def main_code(*args) -> int:
    with pytest.raises(SystemExit) as e: main([str(a) for a in args])
    return e.value.code


def run_cli(capsys, *args):
    "Exit code and stderr of `vidcls …`, in this process."
    return main_code(*args), capsys.readouterr().err


PLAIN = TrainConfig(data_path="x", clip_len=16, frame_rate=15, train_resize_size=(128, 171), train_crop_size=(112, 112), val_resize_size=(128, 171), val_crop_size=(112, 112))  # the README's defaults
RECIPE = {  # the reference README, with train.py replaced; and what comes of it
    '--data-path=/data/kinectics400 --kinetics-version="400" --lr 0.08 --cache-dataset --sync-bn --amp':
        dict(data_path="/data/kinectics400", kinetics_version="400", lr=0.08, cache_dataset=True, sync_bn=True, amp=True),
    '--data-path=/data/kinectics400 --kinetics-version="400" --batch-size=8 --cache-dataset': dict(data_path="/data/kinectics400", kinetics_version="400", batch_size=8, cache_dataset=True),
    '--data-path x --clip_len 16 --frame-rate 15 --clips_per_video 5 --batch-size 24 --epochs 45 --lr 0.64 --lr-warmup-epochs 10 --lr-milestones 20, 30, 40 --lr-gamma 0.1 '
    '--train-resize-size 128 171 --train-crop-size 112 112 --val-resize-size 128 171 --val-crop-size 112 112': dict(lr=0.64),
    '--data-path x --batch-size=12 --lr 0.2 --clip-len 64 --clips-per-video 5 --sync-bn --train-resize-size 256 256 --train-crop-size 224 224 --val-resize-size 256 256 --val-crop-size 224 224':
        dict(batch_size=12, lr=0.2, clip_len=64, sync_bn=True, train_resize_size=(256, 256), train_crop_size=(224, 224), val_resize_size=(256, 256), val_crop_size=(224, 224)),
    '--data-path x --batch-size=16 --test-only --clip-len 128 --clips-per-video 1': dict(batch_size=16, test_only=True, clip_len=128, clips_per_video=1),
    '--data-path x --kinetics-version 700 --workers 10 --momentum 0.9 --weight-decay 1e-4 --lr-warmup-method linear --lr-warmup-decay 0.001 --print-freq 10 --output-dir . --resume r --start-epoch 0 '
    '--use-deterministic-algorithms --weights w.safetensors --model r3d_18 --device cuda':
        dict(kinetics_version="700", workers=10, output_dir=".", resume="r", use_deterministic_algorithms=True, weights="w.safetensors", model="r3d_18", device="cuda"),
}


@pytest.mark.parametrize("line", RECIPE)
def test_the_recipes_commands_are_understood(line):
    assert settled(parse_config(shlex.split(line))) == replace(PLAIN, **RECIPE[line])


def test_without_lr_it_is_scaled_and_said(shapes, tmp_path, capsys):
    fit(replace(SMALL, data_path=str(shapes), output_dir=str(tmp_path / "r"), lr=None, epochs=1))
    assert "0.003333, scaled from 0.64" in capsys.readouterr().out


BAD = {
    "no data": (["--data-path", "nowhere"], "there is no data at nowhere: expected DIR/train/CLASS/*.mp4"),
    "empty data": (["--data-path", "."], "no videos in .: expected DIR/train/CLASS/*.mp4"),
    "clip of nothing": (["--data-path", "DATA", "--clip-len", "0"], "--clip-len 0 is not possible"),
    "unknown model": (["--data-path", "DATA", "--model", "r2plus1d_81"], "r2plus1d_18"),
    "crop too large": (["--data-path", "DATA", "--train-crop-size", "200", "32"], "a crop of 200x32 does not fit into frames of 36x36"),
    "output is a file": (["--data-path", "DATA", "--output-dir", "FILE/run"], "can't write to the output folder"),
    "weights missing": (["--data-path", "DATA", "--weights", "none.safetensors"], "weights 'none.safetensors' are neither a file"),
    "no such stage": (["--data-path", "nowhere", "--freeze-to", "layer5"], "--freeze-to layer5 is no stage of r2plus1d_tiny: its stages are stem, layer1"),
    "nothing to inflate": (["--data-path", "nowhere", "--inflate"], "there are no --weights to inflate"),
    "nothing to resume": (["--data-path", "DATA", "--resume", "none"], "no checkpoint there"),
    "nothing to test": (["--data-path", "DATA", "--test-only", "--output-dir", "none"], "is not a run folder"),
    "no such device": (["--data-path", "DATA", "--device", "mps"], "--device mps"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case, shapes, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").touch()
    args, sentence = BAD[case]
    code, err = run_cli(capsys, "train", *FLAGS, *[str(shapes) if a == "DATA" else a for a in args], *([] if "--output-dir" in args else ["--output-dir", "out"]))
    assert code == 2 and sentence in err and "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("vidcls: ")]) == 1


def test_bad_flags_exit_with_2(capsys):
    for args in (["train", "--clip-length", "3"], ["train", "--lr", "fast"], ["train", "--train-crop-size", "112"], ["fly"]):
        code, err = run_cli(capsys, *args)
        assert code == 2


def test_class_only_in_val(copy, tmp_path, capsys):
    shutil.move(copy / "train/up", tmp_path / "up")
    code, err = run_cli(capsys, "train", "--data-path", copy, "--output-dir", tmp_path / "r", *FLAGS)
    assert code == 2 and "'up', which the 3 training classes lack: down, left, right" in err


def test_few_broken_videos_are_left_out_and_listed(copy, tmp_path, capsys):
    (copy / "train/left/broken.mp4").write_bytes(b"no video")
    run = fit(replace(SMALL, data_path=str(copy), output_dir=str(tmp_path / "r")))
    assert 'train/left/broken.mp4,"this is not a video file' in (run.folder / "problems.csv").read_text()
    assert len(run.records()) == 2 and "left out as broken: 1 (see problems.csv)" in capsys.readouterr().out


def test_many_broken_videos_stop_the_run(copy, tmp_path, capsys):
    for k in range(3): (copy / f"train/left/broken{k}.mp4").write_bytes(b"no video")
    args = ["train", "--data-path", copy, "--output-dir", tmp_path / "r", *FLAGS]
    code, err = run_cli(capsys, *args)
    assert code == 2 and "3 of 27 videos are broken, more than 5%" in err
    assert run_cli(capsys, *args, "--max-broken", "0.2")[0] == 0


def test_a_lost_class_stops_the_run(copy, tmp_path, capsys):
    for f in (copy / "train/left").iterdir(): f.write_bytes(b"")
    code, err = run_cli(capsys, "train", "--data-path", copy, "--output-dir", tmp_path / "r", *FLAGS, "--max-broken", "0.9")
    assert code == 2 and "all videos of class left are broken" in err


def test_no_video_decodes(copy, tmp_path, capsys):
    for f in (copy / "train").rglob("*.*"): f.write_bytes(b"")
    code, err = run_cli(capsys, "train", "--data-path", copy, "--output-dir", tmp_path / "r", *FLAGS, "--max-broken", "1")
    assert code == 2 and "none of the 24 videos" in err


def test_videos_that_break_after_indexing_are_replaced_counted_and_named(copy, tmp_path, monkeypatch):
    import vidcls.train as train
    original, victims = train._data, []
    def data(c):
        got = original(c)
        victims.append(got[0].key(0))
        got[0].path(0).write_bytes(b"gone bad")
        return got
    monkeypatch.setattr(train, "_data", data)
    run = fit(replace(SMALL, data_path=str(copy), output_dir=str(tmp_path / "r")))
    assert [r["failed_clips"] for r in run.records()] == [1, 1] and [r["clips"] for r in run.records()] == [23, 23]
    assert victims[0] in (run.folder / "problems.csv").read_text()


def test_a_broken_validation_video_counts_as_wrong(copy, tmp_path):
    victim = sorted((copy / "val/left").iterdir())[0]
    victim.write_bytes(b"no video")
    run = fit(replace(SMALL, data_path=str(copy), output_dir=str(tmp_path / "r"), max_broken=0.5))
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert (metrics["videos"], metrics["failed_videos"]) == (8, 1) and metrics["failed"][0][0] == f"val/left/{victim.name}"


def same(a, b): return all(torch.equal(a[k], b[k]) for k in a)


def test_resume_from_another_folder_keeps_its_history(shapes, tmp_path):
    c = replace(SMALL, data_path=str(shapes))
    first = fit(replace(c, output_dir=str(tmp_path / "a"), epochs=1))
    second = fit(replace(c, output_dir=str(tmp_path / "b"), resume=str(tmp_path / "a")))
    assert [r["epoch"] for r in second.records()] == [1, 2] and second.has("best") and len(first.records()) == 1


def test_other_settings_do_not_go_on_in_a_folder(shapes, tmp_path, capsys):
    c = replace(SMALL, data_path=str(shapes), output_dir=str(tmp_path / "r"), epochs=1)
    before = fit(c).load().model
    args = ["train", *FLAGS, "--data-path", shapes, "--output-dir", tmp_path / "r", "--epochs", "1"]
    code, err = run_cli(capsys, *args, "--model", "fr2d_tiny")
    assert code == 2 and "model was r2plus1d_tiny, now fr2d_tiny" in err and same(before, Run(tmp_path / "r").load().model)
    assert run_cli(capsys, *args, "--model", "fr2d_tiny", "--overwrite")[0] == 0


def snapshot(folder): return {f: f.read_bytes() for f in sorted(Path(folder).rglob("*")) if f.is_file()}


def test_what_fails_leaves_the_run_that_was_there(shapes, copy, tmp_path, capsys):
    a = fit(replace(SMALL, data_path=str(shapes), output_dir=str(tmp_path / "a"), epochs=1))
    b = fit(replace(SMALL, data_path=str(shapes), output_dir=str(tmp_path / "b"), epochs=1, seed=5))
    before = snapshot(b.folder)
    args = ["train", *FLAGS, "--data-path", shapes, "--output-dir", b.folder]
    code, err = run_cli(capsys, *args, "--overwrite", "--weights", "none.safetensors")
    assert code == 2 and "are neither a file" in err and snapshot(b.folder) == before
    code, err = run_cli(capsys, *args, "--resume", a.folder)
    assert code == 2 and "holds another run, not one that goes on from" in err and snapshot(b.folder) == before
    next((copy / "train/left").iterdir()).unlink()
    with pytest.raises(VidclsError, match="other videos .24 for training, now 23"): fit(replace(SMALL, data_path=str(copy), output_dir=str(b.folder), epochs=1, seed=5))
    assert snapshot(b.folder) == before


def test_a_run_that_goes_on_from_another_is_itself_resumed(shapes, tmp_path, capsys):
    c = replace(SMALL, data_path=str(shapes))
    fit(replace(c, output_dir=str(tmp_path / "a"), epochs=1))
    there = replace(c, output_dir=str(tmp_path / "b"), resume=str(tmp_path / "a"))
    fit(there)
    capsys.readouterr()
    assert [r["epoch"] for r in fit(replace(there, epochs=3)).records()] == [1, 2, 3]
    assert "resumed after step 6 (the end of epoch 2) from" in capsys.readouterr().out


def test_evaluation_by_another_protocol_does_not_replace_the_runs_own(shapes, tmp_path, capsys):
    run = fit(replace(SMALL, data_path=str(shapes), output_dir=str(tmp_path / "r"), epochs=1))
    before = (run.folder / "metrics.json").read_bytes()
    assert run_cli(capsys, "evaluate", run.folder, "--clips-per-video", "5")[0] == 0
    assert (run.folder / "metrics.json").read_bytes() == before
    other, = set(run.folder.glob("metrics-*.json"))
    assert json.loads(other.read_text())["protocol"]["clips_per_video"] == 5
    assert run_cli(capsys, "evaluate", run.folder, "--clips-per-video", "0")[0] == 2


def test_short_videos_are_dropped_only_when_asked_and_then_counted(shapes, tmp_path, capsys):
    c = replace(SMALL, data_path=str(shapes), epochs=1, clip_len=11)
    kept = fit(replace(c, output_dir=str(tmp_path / "kept")))
    dropped = fit(replace(c, output_dir=str(tmp_path / "dropped"), short="drop"))
    n = kept.records()[0]["clips"] - dropped.records()[0]["clips"]
    assert kept.records()[0]["clips"] == 24 and 0 < n < 24 and dropped.records()[0]["failed_clips"] == 0
    assert f"left out of train as shorter than a clip: {n}" in (dropped.folder / "log.txt").read_text()


def test_a_class_list_of_another_run_is_refused(shapes, copy, tmp_path, capsys):
    fit(replace(SMALL, data_path=str(shapes), output_dir=str(tmp_path / "r"), epochs=1))
    for split in ("train", "val"): (copy / split / "up").rename(copy / split / "upwards")
    code, err = run_cli(capsys, "evaluate", tmp_path / "r", "--data-path", copy)
    assert code == 2 and "'upwards'" in err


def test_a_checkpoint_of_another_architecture_is_refused(shapes, tmp_path, capsys):
    run = fit(replace(SMALL, data_path=str(shapes), output_dir=str(tmp_path / "r"), epochs=1))
    config = run.config
    config["model"]["name"] = "fr2d_tiny"
    (run.folder / "config.json").write_text(json.dumps(config))
    code, err = run_cli(capsys, "evaluate", run.folder)
    assert code == 2 and "another architecture" in err


def test_weights_start_another_training(shapes, tmp_path):
    run = fit(replace(SMALL, data_path=str(shapes), output_dir=str(tmp_path / "a"), epochs=1))
    started = fit(replace(SMALL, data_path=str(shapes), output_dir=str(tmp_path / "b"), epochs=1, lr=1e-12, weights=str(run.folder / "best/model.safetensors")))
    assert torch.allclose(started.load().model["fc.weight"], run.load("best").model["fc.weight"], atol=1e-6)


def test_gradients_are_those_of_the_mean_over_what_counts(shapes, tmp_path):
    "Accumulating two batches of 4 equals one of 8, also where the last batch is smaller; norms are left out, they see single batches."
    class Linear(torch.nn.Module):
        def __init__(self): super().__init__(); self.fc, self.num_classes = torch.nn.Linear(3, 4), 4
        def forward(self, x): return self.fc(x.mean((2, 3, 4)))
    from accelerate import Accelerator
    from vidcls.data import ClipLoader, TrainClips, TrainPlan
    from vidcls.index import build_index
    from vidcls.train import _transforms, train_epoch
    index, weights = build_index(shapes, progress=False), []
    for size, accumulate in ((10, 1), (5, 2)):
        torch.manual_seed(0)
        c = replace(SMALL, data_path="x", batch_size=size, accumulate=accumulate, lr=1.0)
        clips = TrainClips(index, clip_len=8, frame_rate=8, size=(36, 36), clips_per_video=1)
        accelerator = Accelerator(cpu=True)
        model = Linear()
        model, opt = accelerator.prepare(model, torch.optim.SGD(model.parameters(), 1.0))
        train_epoch(model, opt, ClipLoader(clips, TrainPlan(len(index), 1, size, accumulate=accumulate), workers=0), _transforms(c, (0.4,) * 3, (0.2,) * 3)[0], accelerator, c)
        weights.append(model.fc.weight.detach().clone())
    torch.testing.assert_close(*weights, rtol=1e-5, atol=1e-6)


def launched(*launcher, output, shapes, batch):
    "Train through a launcher; its run."
    args = [sys.executable, *launcher, "-m", "vidcls.train", *FLAGS, "-b", batch, "--data-path", str(shapes), "--output-dir", str(output), "--device", "cpu"]
    done = subprocess.run(args, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    return Run(output), done.stdout


def test_two_processes_of_torchrun(shapes, tmp_path):
    run, said = launched("-m", "torch.distributed.run", "--nproc_per_node=2", output=tmp_path / "two", shapes=shapes, batch="4")
    assert "global batch 8 (4 clips x 2 processes" in said
    assert [r["clips"] for r in run.records()] == [24, 24] and run.records()[0]["videos"] == 8
    stored = json.loads((run.folder / "metrics.json").read_text())
    best = max(run.records(), key=lambda r: r["video_top1"])  # the first of equals, as `best` is
    assert best["val_loss"] == pytest.approx(stored["val_loss"], rel=1e-6)  # all processes have judged by the same network, the one that was saved
    alone = evaluate_run(run, quiet=True).metrics()  # the same videos, counted by one process
    assert alone["video_top1"] == pytest.approx(stored["video_top1"]) and alone["val_loss"] == pytest.approx(stored["val_loss"], rel=1e-4)


def test_evaluate_and_predict_from_the_shell(shapes, tmp_path, capsys):
    run = fit(replace(SMALL, data_path=str(shapes), output_dir=str(tmp_path / "r"), epochs=1))
    before = (run.folder / "metrics.json").read_text()
    capsys.readouterr()
    with pytest.raises(SystemExit) as e: main(["evaluate", str(run.folder), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert e.value.code == 0 and told == json.loads(before)
    video = next((shapes / "val").rglob("*.mp4"))
    with pytest.raises(SystemExit) as e: main(["predict", str(run.folder), str(video), "--json", "--top", "2"])
    answer = json.loads(capsys.readouterr().out)
    assert e.value.code == 0 and answer["path"] == str(video) and len(answer["top"]) == 2
    code, err = run_cli(capsys, "predict", run.folder, video, shapes / "none.mp4")
    assert code == 2 and "there is no such file" in err and "1 of 2 videos" in err


def test_amp_is_bf16_where_it_pays(shapes, tmp_path, capsys):
    run = fit(replace(SMALL, data_path=str(shapes), output_dir=str(tmp_path / "r"), epochs=1, amp=True))
    units = torch.cpu.get_capabilities()
    pays = torch.cuda.is_available() or units.get("amx_bf16") or units.get("avx512_bf16")
    assert np.isfinite(run.records()[0]["loss"]) and (run.config["precision"] != "no") == bool(pays)
    assert ("this CPU has no bf16 units" in (run.folder / "log.txt").read_text()) != bool(pays)


def test_bf16_trains(shapes, tmp_path, monkeypatch):
    import vidcls.processes as processes
    monkeypatch.setattr(processes, "choose_precision", lambda amp, device: "bf16")
    run = fit(replace(SMALL, data_path=str(shapes), output_dir=str(tmp_path / "r"), epochs=1, amp=True))
    assert np.isfinite(run.records()[0]["loss"]) and run.config["precision"] == "bf16"


def test_a_loss_that_is_not_finite_names_its_videos_and_leaves_the_checkpoint(shapes, tmp_path, capsys):
    before = fit(replace(SMALL, data_path=str(shapes), output_dir=str(tmp_path / "r"), epochs=1, save_every="1")).load()
    c = replace(SMALL, data_path=str(shapes), output_dir=str(tmp_path / "r"), epochs=9, max_loss=1e-3)
    with pytest.raises(VidclsError, match=r"diverged .--max-loss 0.001.*--clip-grad 1.*where it began: train/.*mp4"): fit(c)
    assert same(before.model, Run(tmp_path / "r").load().model)
    code, err = run_cli(capsys, "train", *FLAGS, "--data-path", shapes, "--output-dir", tmp_path / "nan", "--lr", "1e12")
    assert code == 2 and "the mean loss is nan" in err and err.count("train/") >= 8 and "Traceback" not in err


def test_checkpoints_without_what_explains_them_are_not_overwritten(shapes, tmp_path):
    c = replace(SMALL, data_path=str(shapes), output_dir=str(tmp_path / "r"), epochs=1)
    run = fit(c)
    for file in run.folder.rglob("state.json"): file.unlink()
    with pytest.raises(VidclsError, match="is damaged.*start anew with --overwrite"): fit(c)
    (run.folder / "config.json").unlink()
    before = snapshot(run.folder)
    with pytest.raises(VidclsError, match="holds checkpoints, but no config.json"): fit(c)
    assert snapshot(run.folder) == before


def test_the_log_tells_when_and_why_it_ended(shapes, tmp_path):
    from vidcls.processes import Stopped
    c = replace(SMALL, data_path=str(shapes), output_dir=str(tmp_path / "r"))
    with pytest.raises(Stopped): fit(replace(c, max_hours=1e-6))
    run = fit(c)
    lines = (run.folder / "log.txt").read_text().splitlines()
    assert [line[21:] for line in lines if line.startswith("20")] == ["started with 1 process", "ended: the time limit: saved after step 1 (epoch 1); the same command goes on there", "started with 1 process"]


def test_a_slow_data_path_is_said_once_with_what_helps(tmp_path):
    from vidcls.track import Tracking
    from vidcls.progress import Teller
    said, run = [], Run(tmp_path).create({})
    teller = Teller(SMALL, run, Tracking(None, (), tmp_path, {}), said.append)
    record = dict(epoch=1, step=10, loss=1., clips_per_s=5., data_wait=0.4)
    teller.steps(record)
    assert not said  # too early to tell
    teller.began -= 60
    for _ in range(2): teller.steps(record)
    assert len(said) == 1 and "40% of the time" in said[0] and "vidcls prepare" in said[0] and len(run.records("steps")) == 3


def test_failed_videos_are_left_out_when_asked(copy, tmp_path):
    victim = sorted((copy / "val/left").iterdir())[0]
    victim.write_bytes(b"no video")
    c = replace(SMALL, data_path=str(copy), output_dir=str(tmp_path / "r"), max_broken=0.5, epochs=1, failed_videos="left_out")
    left_out = evaluate_run(fit(c))
    wrong = evaluate_run(tmp_path / "r", replace(c, failed_videos="wrong"))
    a, b = left_out.metrics(), wrong.metrics()
    assert b["video_top1"] == pytest.approx(a["video_top1"] * 7 / 8) and a["failed_videos"] == b["failed_videos"] == 1
    assert (a["protocol"]["failed_videos"], b["protocol"]["failed_videos"]) == ("left out", "counted as wrong")
    assert len(list((tmp_path / "r").glob("metrics-*.json"))) == 1


def test_dry_run_measures_and_writes_nothing(shapes, tmp_path, capsys, monkeypatch):
    import vidcls.train as train
    monkeypatch.setattr(train.dry_run, "__defaults__", (1.5,))
    assert main_code("train", *FLAGS, "--data-path", shapes, "--output-dir", tmp_path / "r", "--dry-run", "--head-warmup-epochs", "1") == 0
    said = capsys.readouterr().out
    assert "is the bottleneck" in said and "2 epochs of 24 clips, each with an evaluation of 8" in said and [line.split()[0] for line in said.splitlines()[-7:-1]] == ["1", "2", "4", "8", "16", "64"]
    assert not (tmp_path / "r").exists()


def test_a_batch_that_counts_nothing_changes_no_norm(copy, tmp_path, monkeypatch):
    import vidcls.train as train
    original = train._data
    def data(c):
        got = original(c)
        got[0].path(0).write_bytes(b"gone bad")
        return got
    monkeypatch.setattr(train, "_data", data)
    c = replace(SMALL, data_path=str(copy), batch_size=1, epochs=1, max_broken=1, train_scales=(32, 36))
    run = fit(replace(c, output_dir=str(tmp_path / "r")))
    counted = next(v for k, v in run.load().model.items() if k.endswith("num_batches_tracked"))
    assert run.records()[0]["clips"] == 23 and counted == 23


def test_weights_that_are_not_finite_are_not_saved(shapes, tmp_path, monkeypatch):
    import vidcls.train as train
    run = fit(replace(SMALL, data_path=str(shapes), output_dir=str(tmp_path / "r"), epochs=1))
    before, original = run.load().model, train.train_epoch
    def spoilt(model, *args, **how):
        record = original(model, *args, **how)
        next(model.parameters()).data[0] = float("nan")
        return record
    monkeypatch.setattr(train, "train_epoch", spoilt)
    with pytest.raises(VidclsError, match="not finite, and are not saved"): fit(replace(SMALL, data_path=str(shapes), output_dir=str(run.folder)))
    assert same(before, run.load().model)


def test_real_clips_train(tmp_path):
    data = real("weizmann4")
    run = fit(replace(SMALL, data_path=str(data), output_dir=str(tmp_path / "r"), epochs=1, clips_per_video=2, hflip=0.5))
    assert run.config["classes"] == ["bend", "jack", "wave1", "wave2"] and run.records()[0]["failed_clips"] == 0
