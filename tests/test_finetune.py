"What fine-tuning promises: what is frozen does not move, rates are as asked for, the head can go first, recipes can be seen through, and all of it resumes."
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
import torch

from vidcls import models
from vidcls.checkpoint import Run
from vidcls.cli import DEMO
from vidcls.clips import VidclsError
from vidcls.models import InputCard, register_model
from vidcls.recipes import RECIPES
from vidcls.resnet import VideoResNet
from vidcls.toy import write_moving_shapes
from vidcls.config import TrainConfig, parse_config, recipe, settled
from vidcls.optim import base_lr
from vidcls.train import evaluate_only, evaluate_run, fit

SMALL = replace(DEMO, epochs=1, batch_size=8, workers=0, lr=0.05, lr_warmup_epochs=0, lr_milestones=())


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return write_moving_shapes(tmp_path_factory.mktemp("tune") / "shapes", num_train=6, num_val=2, classes=("left", "right", "up", "down"), progress=False)


@pytest.fixture(scope="module")
def start(shapes, tmp_path_factory):
    "A run to fine-tune from."
    return fit(replace(SMALL, data_path=str(shapes), output_dir=str(tmp_path_factory.mktemp("tune") / "start")))


@pytest.fixture
def tune(shapes, start, tmp_path):
    "Settings of a fine-tuning, and the weights that it starts from."
    return replace(SMALL, data_path=str(shapes), output_dir=str(tmp_path / "tuned"), weights=str(start.folder)), start.load("best").model


def same(a, b): return all(torch.equal(a[k], b[k]) for k in a)


def moved(before, after): return {k.split(".")[0] for k in before if not torch.equal(before[k], after[k])}


def test_what_is_frozen_does_not_move_and_neither_do_its_statistics(tune):
    c, before = tune
    run = fit(replace(c, freeze_to="layer2", accumulate=2))
    assert moved(before, run.load().model) == {"layer3", "layer4", "fc"}
    assert "parameters up to layer2 stay as they are" in (run.folder / "log.txt").read_text()
    assert any("running_mean" in k for k in before if k.startswith("layer2"))  # there is something that could have moved


def test_stages_learn_at_decaying_rates(tune):
    c, before = tune
    run = fit(replace(c, layer_decay=0.5))
    groups = run.load().training["optimizer"]["param_groups"]
    assert [g["lr"] for g in groups] == [0.05 * 0.5 ** k for k in (5, 4, 3, 2, 1, 0)] and run.records()[-1]["lr"] == 0.05
    plain = fit(replace(c, output_dir=c.output_dir + "-plain")).load().model
    far = lambda after, part: sum(float((after[k] - before[k]).square().sum()) for k in before if k.startswith(part) and k.endswith("weight")) ** 0.5
    assert far(run.load().model, "stem") < 0.2 * far(plain, "stem")


def test_the_head_goes_first(tune):
    c, before = tune
    one = fit(replace(c, head_warmup_epochs=1)).load()
    assert moved(before, one.model) == {"fc"} and len(one.training["optimizer"]["state"]) == 2  # weight and bias have momentum, nothing else
    two = fit(replace(c, head_warmup_epochs=1, epochs=2)).load()
    assert moved(one.model, two.model) == {"stem", "layer1", "layer2", "layer3", "layer4", "fc"}


def test_a_stopped_fine_tuning_goes_on_to_the_same_weights(tune):
    c = replace(tune[0], head_warmup_epochs=2, freeze_to="stem", layer_decay=0.7, epochs=4)
    whole = fit(replace(c, output_dir=c.output_dir + "-whole"))
    for epochs in (1, 2, 3, 4): resumed = fit(replace(c, epochs=epochs))  # stopped while the head warms up, when it is warm, and later
    assert same(whole.load().model, resumed.load().model) and [r["loss"] for r in whole.records()] == [r["loss"] for r in resumed.records()]


def test_other_fine_tuning_is_another_run(tune):
    c, _ = tune
    fit(c)
    for other in (dict(freeze_to="stem"), dict(layer_decay=0.5), dict(head_warmup_epochs=1)):
        with pytest.raises(VidclsError, match=f"{next(iter(other))} was"): fit(replace(c, epochs=2, **other))


THREE_RUNS = """
import json, sys
from dataclasses import replace
from vidcls.config import TrainConfig
from vidcls.train import fit
c = TrainConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(sys.argv[1]).items()})
at = lambda name: f"{c.output_dir}/{name}"
fit(replace(c, output_dir=at("whole"), epochs=2))
fit(replace(c, output_dir=at("part"), epochs=1))
fit(replace(c, output_dir=at("resumed"), epochs=2, resume=at("part")))
"""


def test_two_processes(tune, tmp_path):
    "DDP is told anew what learns when the head is warm; a run that is stopped then ends with the same weights."
    (tmp_path / "three_runs.py").write_text(THREE_RUNS)
    c = replace(tune[0], batch_size=4, freeze_to="stem", head_warmup_epochs=1, layer_decay=0.5, output_dir=str(tmp_path), device="cpu")
    args = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", str(tmp_path / "three_runs.py"), json.dumps(asdict(c))]
    done = subprocess.run(args, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()})
    assert done.returncode == 0, done.stderr[-2000:]
    whole, part, resumed = (Run(tmp_path / name) for name in ("whole", "part", "resumed"))
    assert moved(tune[1], part.load().model) == {"fc"} and moved(part.load().model, whole.load().model) == {"layer1", "layer2", "layer3", "layer4", "fc"}
    assert same(whole.load().model, resumed.load().model)
    assert evaluate_run(whole, checkpoint="last", quiet=True).metrics()["val_loss"] == pytest.approx(whole.records()[-1]["val_loss"], rel=1e-4)  # both processes had judged by the same network


# recipes

def told(capsys, line):
    c = parse_config(line.split())
    return c, capsys.readouterr().out


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_sets_and_flags_win(name, capsys):
    c, said = told(capsys, f"--data-path x --recipe {name}")
    assert c == recipe(name, data_path="x") == TrainConfig(data_path="x", **RECIPES[name].settings)
    assert said.startswith(f"recipe {name}: ") and f"--model {c.model}" in said and f"--batch-size {c.batch_size}" in said and "but" not in said.splitlines()[-1]
    c, said = told(capsys, f"--recipe={name} --data_path x --batch-size 3 --lr-milestones 4, 5 --model r2plus1d_tiny")
    assert c == recipe(name, data_path="x", batch_size=3, lr_milestones=(4, 5), model="r2plus1d_tiny")
    assert said.splitlines()[-1].strip().startswith("but --model r2plus1d_tiny --batch-size 3 --lr-milestones 4 5 (the recipe: ")


def test_a_recipes_rate_scales_with_the_global_batch():
    for name, processes, rate in (("r2plus1d-kinetics", 64, 0.64), ("s3d-kinetics", 64, 0.2), ("s3d-kinetics", 8, 0.025), ("ucf101-finetune", 8, 8e-4), ("hmdb51-finetune", 8, 1.6e-3)):
        assert base_lr(recipe(name), processes) == pytest.approx(rate)
        assert base_lr(recipe(name, lr=0.5), processes) == 0.5
    assert base_lr(recipe("s3d-kinetics", batch_size=24), 8) == pytest.approx(0.05)


def test_recipes_are_those_of_the_readme(capsys):
    plain = settled(TrainConfig())
    assert settled(recipe("r2plus1d-kinetics")) == plain
    s3d = parse_config("--model s3d --batch-size=12 --lr-for-batch 0.2 768 --clip-len 64 --clips-per-video 5 --sync-bn --frame-rate 15 "
                       "--train-resize-size 256 256 --train-crop-size 224 224 --val-resize-size 256 256 --val-crop-size 224 224".split())
    assert recipe("s3d-kinetics") == s3d
    tested, _ = told(capsys, "--recipe s3d-kinetics --test-only")
    assert tested == replace(s3d, batch_size=16, test_only=True, clip_len=128, clips_per_video=1)
    assert told(capsys, "--recipe s3d-kinetics --test-only --clip-len 32")[0].clip_len == 32
    assert told(capsys, "--recipe s3d-kinetics --no-sync-bn")[0].sync_bn is False and told(capsys, "--recipe s3d-kinetics --sync-bn")[0].sync_bn


def test_a_recipe_trains(shapes, tmp_path, capsys):
    small = "--model r2plus1d_tiny --clip-len 8 --clips-per-video 1 --val-clips-per-video 2 --train-resize-size 36 36 --train-crop-size 32 32 --val-resize-size 36 --val-crop-size 32 32 --epochs 1 -j 0"
    c, _ = told(capsys, f"--recipe hmdb51-finetune --weights None --data-path {shapes} --output-dir {tmp_path / 'r'} {small}")
    run = fit(c)
    assert "learning rate 0.0002, scaled from 0.0016 for 32 clips" in capsys.readouterr().out and run.config["settings"]["val_resize_size"] == [36]


def test_only_one_process_speaks(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert told(capsys, "--recipe s3d-kinetics --data-path x")[1] == ""


def test_an_unknown_recipe(capsys):
    with pytest.raises(VidclsError, match="ucf101-finetune"): recipe("ucf")
    with pytest.raises(SystemExit) as e: parse_config(["--recipe", "ucf"])
    assert e.value.code == 2 and "ucf101-finetune" in capsys.readouterr().err


# what a clip looks like, and what a run remembers

def test_clips_are_those_of_the_models_card(shapes, tmp_path):
    run = fit(TrainConfig(data_path=str(shapes), model="r2plus1d_tiny", output_dir=str(tmp_path / "r"), epochs=1, lr=0.01, clips_per_video=1, workers=0))
    settings = run.config["settings"]
    assert {k: settings[k] for k in ("clip_len", "frame_rate", "train_resize_size", "val_crop_size")} == dict(clip_len=8, frame_rate=15, train_resize_size=[64, 64], val_crop_size=[64, 64])
    result = evaluate_only(TrainConfig(data_path=str(shapes), output_dir=str(run.folder), test_only=True, workers=0, clips_per_video=1))  # what is left open is as in the run, not as on another model's card
    assert (result.protocol["clip_len"], result.protocol["resize"]) == (8, [64, 64])


def test_a_run_of_an_older_version_goes_on(shapes, tmp_path):
    c = replace(SMALL, data_path=str(shapes), frame_rate=0)
    whole = fit(replace(c, output_dir=str(tmp_path / "whole"), epochs=2))
    run = fit(replace(c, output_dir=str(tmp_path / "old")))
    config = run.config
    for name in ("inflate", "lr_for_batch", "freeze_to", "layer_decay", "head_warmup_epochs", "compile"): del config["settings"][name]
    del config["model"]
    config["settings"]["frame_rate"] = None  # each video's own, at that time
    (run.folder / "config.json").write_text(json.dumps(config))
    training = torch.load(run.folder / "last/training.pt", weights_only=True)
    for group in training["optimizer"]["param_groups"]: del group["lr_scale"]
    torch.save(training, run.folder / "last/training.pt")
    state = json.loads((run.folder / "last/state.json").read_text())
    (run.folder / "last/state.json").write_text(json.dumps({name: state[name] for name in ("epoch", "step", "best", "metrics")}))  # no digests, no position within an epoch
    assert same(whole.load().model, fit(replace(c, output_dir=str(run.folder), epochs=2)).load().model)


def test_a_run_remembers_how_its_model_was_built_and_what_it_sees(tune, start, tmp_path):
    c, _ = tune
    like = shutil.copytree(start.folder, tmp_path / "like")
    config = json.loads((like / "config.json").read_text())
    config["input"] = dict(mean=[0.5] * 3, std=[0.25] * 3)
    (like / "config.json").write_text(json.dumps(config))
    run = fit(replace(c, weights=str(like)))
    assert run.config["input"] == config["input"] and run.config["model"] == dict(name="r2plus1d_tiny", kwargs={})
    shutil.rmtree(like)  # to go on, it takes nothing but itself
    assert fit(replace(c, weights=str(like), epochs=2)).config["input"] == config["input"]


def test_weights_for_other_classes_start_a_training_but_are_no_test(tune, tmp_path, capsys):
    c, _ = tune
    more = write_moving_shapes(tmp_path / "more", num_train=2, num_val=1, classes=("left", "right", "up", "down", "growing"), progress=False)
    assert len(fit(replace(c, data_path=str(more))).config["classes"]) == 5
    assert "classify 4 classes; the head for 5 is new" in capsys.readouterr().err
    with pytest.raises(VidclsError, match="are for 4 classes, and the data have 5"): evaluate_only(replace(c, data_path=str(more), test_only=True))


def test_weights_are_tested_as_they_are(tune, start):
    c, _ = tune
    stored = json.loads((start.folder / "metrics.json").read_text())
    assert evaluate_only(replace(c, test_only=True)).metrics()["val_loss"] == pytest.approx(stored["val_loss"], rel=1e-5)


def test_image_weights_are_inflated(shapes, tmp_path):
    from torchvision.models import resnet18
    torch.save(resnet18().state_dict(), tmp_path / "image.pth")
    c = replace(SMALL, data_path=str(shapes), model="r3d_18", clip_len=4, output_dir=str(tmp_path / "r"), weights=str(tmp_path / "image.pth"), freeze_to="layer4", clips_per_video=1)
    with pytest.raises(VidclsError, match="--inflate"): fit(c)
    run = fit(replace(c, inflate=True))
    image, video = torch.load(tmp_path / "image.pth", weights_only=True)["layer1.0.conv1.weight"], run.load().model["layer1.0.conv1.0.weight"]
    torch.testing.assert_close(video.sum(2), image)


# torch.compile

@pytest.fixture
def tiny():
    "The name of a network that is compiled in seconds."
    @register_model(InputCard(4, 8, (36, 36), (32, 32), (0.4,) * 3, (0.2,) * 3, "this test"))
    def one_stage(**kwargs): return VideoResNet(("2d", "2d"), (1,), (4,), **kwargs)
    yield "one_stage"
    del models._REGISTRY["one_stage"]


def test_compiled_training_is_the_same_training(shapes, tiny, tmp_path):
    from torch._dynamo.utils import counters
    c = replace(SMALL, data_path=str(shapes), model=tiny, clip_len=4, lr=0.01, output_dir=str(tmp_path / "plain"), epochs=3, val_clips_per_video=1, batch_size=7)  # batches of 7 and 3 clips, of 7 and 1 videos
    plain = fit(c)
    counters.clear()
    run = fit(replace(c, output_dir=str(tmp_path / "compiled"), compile=True))
    assert run.load().model.keys() == plain.load().model.keys()
    assert [r["loss"] for r in run.records()] == pytest.approx([r["loss"] for r in plain.records()], rel=1e-3)
    assert 0 < counters["stats"]["unique_graphs"] <= 6 and not counters["graph_break"]  # a few shapes, training and evaluation; no more in later epochs
    assert len(fit(replace(c, output_dir=str(run.folder), epochs=4)).records()) == 4  # and goes on without
    torch.compiler.reset()


def test_no_compiler_is_one_sentence(shapes, tmp_path):
    args = [sys.executable, "-m", "vidcls.train", "--model", "r2plus1d_tiny", "--compile", "--device", "cpu", "--data-path", str(shapes), "--output-dir", str(tmp_path / "r")]
    done = subprocess.run(args, capture_output=True, text=True, env=os.environ | {"CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")})
    assert done.returncode == 2 and "--compile: PyTorch can't compile r2plus1d_tiny" in done.stderr and "train without --compile" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "r").exists()


OPEN = dict(clip_len=None, frame_rate=None, train_resize_size=None, train_crop_size=None, val_resize_size=None, val_crop_size=None)


def test_clips_follow_the_weights_where_nothing_is_said(tune, start):
    "The run to start from saw 8 frames at 8 per second of 36x36, cropped to 32x32; the model's card says 64x64."
    c, _ = tune
    run = fit(replace(c, **OPEN))
    known = run.config["settings"]
    assert (known["clip_len"], known["frame_rate"], known["val_resize_size"], known["train_crop_size"]) == (8, 8, [36, 36], [32, 32])
    assert "clips of 8 frames at 8 frames/s, 36x36 cropped to 32x32; weights from" in (run.folder / "log.txt").read_text()
    result = evaluate_only(replace(c, **OPEN, test_only=True, weights=str(start.folder), resume=None, output_dir=c.output_dir + "-none"))
    assert (result.protocol["clip_len"], result.protocol["crop"]) == (8, [32, 32])
    with pytest.raises(VidclsError, match="either --weights .* or --resume"): evaluate_only(replace(c, test_only=True, resume=str(run.folder)))


def test_a_head_for_other_classes_of_the_same_number_is_new(shapes, start, tmp_path, capsys):
    other = write_moving_shapes(tmp_path / "other", num_train=2, num_val=1, classes=("clockwise", "counterclockwise", "growing", "shrinking"), progress=False)
    c = replace(SMALL, data_path=str(other), output_dir=str(tmp_path / "r"), weights=str(start.folder), lr=1e-9, freeze_to="layer4")
    run = fit(c)
    assert "the classes of" in (said := capsys.readouterr().err) and "the head is new" in said
    assert not torch.allclose(run.load().model["fc.weight"], start.load("best").model["fc.weight"], atol=1e-3)


def test_a_head_for_the_same_classes_in_another_order_is_sorted(shapes, start, tmp_path, capsys):
    table = tmp_path / "renamed.csv"
    rows = [(p, {"left": "Left", "right": "RIGHT"}.get(p.parent.name, p.parent.name), p.parent.parent.name) for p in sorted(shapes.rglob("*.mp4"))]
    table.write_text("path,label,split\n" + "".join(f"{p},{label},{split}\n" for p, label, split in rows))
    run = fit(replace(SMALL, data_path=str(table), output_dir=str(tmp_path / "r"), weights=str(start.folder), lr=1e-9, freeze_to="layer4"))
    assert run.config["classes"] == ["Left", "RIGHT", "down", "up"] != start.config["classes"] and "the head is new" not in capsys.readouterr().err
    order = [start.config["classes"].index(name) for name in ("left", "right", "down", "up")]
    assert torch.allclose(run.load().model["fc.weight"], start.load("best").model["fc.weight"][order], atol=1e-5)


def test_weights_that_take_no_colours_leave_the_run_that_was_there(tune, tmp_path):
    c, _ = tune
    before = fit(c).load().model
    models.save_weights(models.create_model("r2plus1d_tiny", in_channels=2, num_classes=4), tmp_path / "flow.safetensors")
    with pytest.raises(VidclsError, match="takes clips of 2 channels, and videos have 3"): fit(replace(c, weights=str(tmp_path / "flow.safetensors"), overwrite=True))
    assert same(before, Run(c.output_dir).load().model)
