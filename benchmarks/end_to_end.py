"""From the command to the accuracy: torchvision's training script and vidcls on the same videos, in one call.

    python benchmarks/end_to_end.py                  # some 7 minutes on 2 cores; --data-path takes a csv of path,label,split
    python benchmarks/end_to_end.py --gpu            # besides: r2plus1d_18 in mixed precision on a GPU

README.md beside this file says what is compared.
"""
import os
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for both sides: threads that spin while they wait would starve the loaders' workers

import argparse
import csv
import multiprocessing
import statistics
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, field, replace
from io import StringIO
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import torch
import torchvision
from torch.nn import functional as F
from torch.utils.data import DataLoader, default_collate
from torchvision.datasets import Kinetics
from torchvision.datasets.samplers import RandomClipSampler, UniformClipSampler
from torchvision.models.video import resnet

import vidcls.train
from vidcls.bench import RECIPE, Forever, environment, interleave, missing_peer, print_bench, reference_transform, save_bench
from vidcls.checkpoint import Run
from vidcls.clips import VidclsError
from vidcls.config import TrainConfig
from vidcls.data import Batch, ClipLoader, TrainClips, TrainPlan
from vidcls.index import SUFFIXES, VideoIndex, build_index
from vidcls.models import create_model
from vidcls.optim import make_optimizer
from vidcls.prepare import prepare
from vidcls.processes import Interrupts, choose_precision, start
from vidcls.progress import Keeper, Progress
from vidcls.resnet import NARROW
from vidcls.train import fit, train_epoch
from vidcls.transforms import ClipTransform

torch.backends.cudnn.benchmark = True  # as both sides do

@dataclass(frozen=True)
class Work:
    "What both sides do alike."
    data: str # folder with `train/CLASS/*.mp4` and `val/CLASS/*.mp4`
    model: str = "r2plus1d_tiny" # this one, or a name that torchvision has too
    clip_len: int = 8 # frames in a clip, at 15 per second
    size: tuple = (64, 85) # height and width to which frames are resized
    crop: tuple = (56, 56) # height and width of the crop
    clips_per_video: int = 5 # in training and in evaluation
    batch_size: int = 10 # clips
    workers: int = 2 # processes that decode
    lr: float = 0.01 # at the end of the warm-up, which takes the whole epoch
    warmup_decay: float = 0.001 # factor with which the warm-up begins
    recipe: dict = field(default_factory=lambda: dict(momentum=0.9, weight_decay=1e-4)) # of SGD

    def sizes(self): # a context: the helpers of `vidcls.bench` work at these sizes
        return patch.dict(RECIPE, clip_len=self.clip_len, size=self.size, crop=self.crop, clips_per_video=self.clips_per_video)

@contextmanager
def clock(parts: dict, name: str):
    "Note how long something takes; what happens twice has two entries."
    began = time.perf_counter()
    try: yield
    finally: parts.setdefault(name, []).append(time.perf_counter() - began)


def now() -> tuple: # seconds on the clock, seconds of CPU time of this process and of those that it has waited for
    "When a run begins."
    return time.perf_counter(), sum(os.times()[:4])

# The videos

def link_videos(table: Path, folder: Path, videos: dict) -> Path:
    "A data set, as folders, of some videos of a csv file: evenly chosen from each class and split, and read once, so that they are in the system's file cache."
    rows = list(csv.DictReader(open(table, encoding="utf-8")))
    for split, n in videos.items():
        classes = sorted({r["label"] for r in rows})
        for label in classes:
            paths = sorted(r["path"] for r in rows if (r["split"], r["label"]) == (split, label))
            for k in range(want := min(len(paths), n // len(classes) if n else len(paths))):
                source = (table.parent / paths[k * len(paths) // want]).resolve()
                link = folder / split / label / source.name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(source)
                source.read_bytes()
    return folder


# torchvision's side

class Narrow(resnet.VideoResNet):
    "torchvision's R(2+1)D of 10 layers with the widths of `r2plus1d_tiny`."
    def __init__(self, num_classes: int):
        super().__init__(resnet.BasicBlock, [resnet.Conv2Plus1D] * 4, [1] * 4, resnet.R2Plus1dStem, num_classes)
        n, mid = NARROW[0], max(1, 45 * NARROW[0] // 64)
        for i, layer in {0: torch.nn.Conv3d(3, mid, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False), 1: torch.nn.BatchNorm3d(mid),
                         3: torch.nn.Conv3d(mid, n, (3, 1, 1), padding=(1, 0, 0), bias=False), 4: torch.nn.BatchNorm3d(n)}.items(): self.stem[i] = layer
        self.inplanes = n
        for i, width in enumerate(NARROW): setattr(self, f"layer{i + 1}", self._make_layer(resnet.BasicBlock, resnet.Conv2Plus1D, width, 1, 2 if i else 1))
        self.fc = torch.nn.Linear(NARROW[-1], num_classes)
        for m in self.modules():
            if isinstance(m, torch.nn.Conv3d): torch.nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
        torch.nn.init.normal_(self.fc.weight, 0, 0.01)

def reference_net(name: str, num_classes: int) -> torch.nn.Module:
    "torchvision's network."
    return Narrow(num_classes) if name == "r2plus1d_tiny" else torchvision.models.get_model(name, weights=None, num_classes=num_classes)

class Videos(Kinetics):
    "Clips with the numbers of their videos, which the evaluation adds up by."
    def __getitem__(self, i):
        clip, _, _, video = self.video_clips.get_clip(i)
        return self.transform(clip), self.samples[video][1], video

def reference_data(work: Work, split: str) -> Videos:
    "torchvision's data set, indexed by as many processes as decode later (its script takes one)."
    with work.sizes(), redirect_stderr(StringIO()), warnings.catch_warnings(action="ignore"):  # a bar of progress; videos without a frame rate
        return Videos(work.data, work.clip_len, split=split, frame_rate=RECIPE["frame_rate"], step_between_clips=1, transform=reference_transform(split == "train"),
                      extensions=tuple(s[1:] for s in SUFFIXES), num_workers=work.workers)

def reference_loader(data: Videos, sampler, work: Work) -> DataLoader:
    "As torchvision's script makes it."
    return DataLoader(data, work.batch_size, sampler=sampler, num_workers=work.workers, pin_memory=torch.cuda.is_available(), collate_fn=default_collate)

def reference_epoch(net, batches, optimizer, device, schedule=None, scaler=None) -> dict:
    "torchvision's loop: loss and accuracy are read from the device at every step."
    net.train()
    clips = hits = waited = 0
    began = asked = time.perf_counter()
    for video, target, _ in batches:
        waited += time.perf_counter() - asked
        video, target = video.to(device), target.to(device)
        with torch.autocast(device.type, torch.float16, enabled=scaler is not None): loss = F.cross_entropy(logits := net(video), target)
        optimizer.zero_grad()
        if scaler:
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        else:
            loss.backward()
            optimizer.step()
        hits += (logits.argmax(1) == target).sum().item()
        loss.item()
        if schedule: schedule.step()
        clips += len(target)
        asked = time.perf_counter()
    took = time.perf_counter() - began
    return dict(clips=clips, train_top1=hits / max(clips, 1), clips_per_s=clips / took, data_wait=waited / took)

@torch.inference_mode()
def reference_evaluate(net, batches, num_videos: int, device) -> dict:
    "Accuracy of clips, and of videos by the sum of their clips' probabilities."
    net.eval()
    clips = hits = 0
    sums, truth = torch.zeros(num_videos, net.fc.out_features, device=device), torch.zeros(num_videos, dtype=torch.int64, device=device)
    for video, target, which in batches:
        video, target, which = video.to(device), target.to(device), which.to(device)
        logits = net(video)
        F.cross_entropy(logits, target).item()
        hits += (logits.argmax(1) == target).sum().item()
        sums.index_add_(0, which, logits.softmax(1))
        truth[which] = target
        clips += len(target)
    return dict(clips=clips, clip_top1=hits / clips, video_top1=(sums.argmax(1) == truth).float().mean().item())

def reference_run(work: Work, seed: int, folder) -> dict:
    "torchvision's training script: index, one epoch, evaluation, checkpoint."
    began, parts, device = now(), {}, torch.device("cpu")
    torch.manual_seed(seed)
    with clock(parts, "index"): train, val = reference_data(work, "train"), reference_data(work, "val")
    loader = reference_loader(train, RandomClipSampler(train.video_clips, work.clips_per_video), work)
    net = reference_net(work.model, len(train.classes))
    optimizer = torch.optim.SGD(net.parameters(), work.lr, **work.recipe)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, work.warmup_decay, total_iters=len(loader))
    with clock(parts, "train"): trained = reference_epoch(net, loader, optimizer, device, schedule)
    with clock(parts, "evaluate"): found = reference_evaluate(net, reference_loader(val, UniformClipSampler(val.video_clips, work.clips_per_video), work), len(val.samples), device)
    with clock(parts, "save"): torch.save(dict(model=net.state_dict(), optimizer=optimizer.state_dict(), lr_scheduler=schedule.state_dict()), Path(folder, "checkpoint.pth"))
    return _record(began, parts, trained, found["clips"], found)


# vidcls' side

WATCHED = ((vidcls.train, "_data", "index"), (vidcls.train, "train_epoch", "train"), (vidcls.train, "evaluate", "evaluate"), (vidcls.train, "write_report", "report"), (Run, "save", "save")) # where `fit` spends its time

@contextmanager
def watched(parts: dict):
    "Clock the parts of `fit`."
    def clocked(function, part):
        def call(*args, **kwargs):
            with clock(parts, part): return function(*args, **kwargs)
        return call
    with ExitStack() as stack:
        for owner, name, part in WATCHED: stack.enter_context(patch.object(owner, name, clocked(getattr(owner, name), part)))
        yield

def our_run(work: Work, seed: int, folder) -> dict:
    "`fit`: index, one epoch, evaluation, checkpoints, report."
    began, parts = now(), {}
    c = TrainConfig(data_path=work.data, model=work.model, output_dir=str(folder), clip_len=work.clip_len, frame_rate=RECIPE["frame_rate"], clips_per_video=work.clips_per_video, train_resize_size=work.size,
                    val_resize_size=work.size, train_crop_size=work.crop, val_crop_size=work.crop, batch_size=work.batch_size, workers=work.workers, epochs=1, lr=work.lr, lr_warmup_epochs=1,
                    lr_warmup_decay=work.warmup_decay, lr_milestones=(), seed=seed, device="cpu", cache_dataset=False, **work.recipe)
    with watched(parts): run = fit(c)
    last = run.records()[-1]
    return _record(began, parts, last, (last["videos"] - last["failed_videos"]) * work.clips_per_video, last)

def _record(began, parts, trained, val_clips, found) -> dict:
    "One run: seconds in all and of each part, clips, accuracies."
    seconds, cpu = (b - a for a, b in zip(began, now()))
    return dict(seconds=seconds, cpu_seconds=cpu, parts={name: sum(s) for name, s in parts.items()} | dict(other=seconds - sum(map(sum, parts.values()))), train_clips=trained["clips"], val_clips=val_clips,
                data_wait=trained["data_wait"], video_top1=found["video_top1"], clip_top1=found["clip_top1"])

def apart(run, *args) -> dict:
    "Run a function in a process of its own, in which libraries are imported and nothing has happened yet."
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["vidcls.bench", "torchvision"])
    with ProcessPoolExecutor(1, mp_context=context) as pool, tempfile.TemporaryDirectory() as temp: return pool.submit(_quietly, run, *args, temp).result()

def _quietly(run, *args):
    multiprocessing.set_start_method(None, force=True)  # the loaders in there start their workers as they do by default
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()): return run(*args)

def end_to_end(raw: Work, prepared: Work, seeds: int, *, call=apart) -> tuple: # (rows, runs)
    "Whole runs of both sides, in turns."
    runs = {}
    def rate(name, run, work):
        record = call(run, work, len(runs.setdefault(name, [])))
        runs[name].append(record)
        return (record["train_clips"] + record["val_clips"]) / record["seconds"]
    no = missing_peer("torchcodec")
    rows = interleave({"reference": ("torchvision, raw videos", not no and (lambda: rate("reference", reference_run, raw)), no), "ours": ("vidcls, raw videos", lambda: rate("ours", our_run, raw)),
                       "ours prepared": ("vidcls, prepared videos", lambda: rate("ours prepared", our_run, prepared)),
                       "reference prepared": ("torchvision, prepared videos", not no and (lambda: rate("reference prepared", reference_run, prepared)), no)}, seeds, "clips/s")
    counts = {name: {(r["train_clips"], r["val_clips"]) for r in found} for name, found in runs.items()}
    if len(set().union(*counts.values())) > 1: raise VidclsError(f"the sides have not seen the same number of clips, for training and evaluation: {counts}; leave out videos with fewer than {raw.clips_per_video} places for a clip")
    return rows, runs


# Training alone: the loop, and large networks

class Batches:
    "Batches that are there already, or some of a loader's, for `train_epoch`."
    def __init__(self, batches, steps: int, work: Work, clips=SimpleNamespace(index=SimpleNamespace(key=str))):
        self.batches, self.clips, self.plan = batches, clips, TrainPlan(steps * work.batch_size, 1, work.batch_size)
    def __len__(self): return self.plan.num_batches
    def __iter__(self): return iter(self.batches)

def our_epoch(net, optimizer, loader: Batches, transform, accelerator, c: TrainConfig) -> dict:
    "vidcls' loop, with what `fit` does after each step; all that this script knows of its signature is here."
    progress = Progress()
    keeper = Keeper(c, Run(c.output_dir), accelerator, progress, optimizer, net, None, Interrupts())
    return train_epoch(net, optimizer, loader, transform, accelerator, c, progress, after_step=keeper.after_step)

def our_loop(work: Work, device: torch.device, num_classes: int) -> tuple: # (accelerator, settings, network, optimizer)
    "Network and optimiser as `fit` has them."
    c = TrainConfig(data_path=work.data, model=work.model, clip_len=work.clip_len, train_crop_size=work.crop, batch_size=work.batch_size, epochs=1, lr=1e-4, lr_warmup_epochs=0, lr_milestones=(),
                    device=device.type, amp=device.type == "cuda", **work.recipe)
    accelerator = start(c)
    net = create_model(work.model, num_classes=num_classes).to(accelerator.device, memory_format=torch.channels_last_3d)
    return accelerator, c, *accelerator.prepare(net, make_optimizer(net, c))

def loop_overhead(work: Work, device: torch.device, *, steps: int = 4, rounds: int = 12) -> dict: # rows
    "`train_epoch` on float clips that are ready (its transform gives them back), beside a bare loop: forward, loss, backward, step. Same weights, precision and clips; in turns."
    accelerator, c, net, optimizer = our_loop(work, device, 2)
    bare = create_model(work.model, num_classes=2).to(device, memory_format=torch.channels_last_3d)
    bare.load_state_dict(accelerator.unwrap_model(net).state_dict())
    sgd, precision = make_optimizer(bare, c), choose_precision(c.amp, device)
    half = torch.bfloat16 if precision == "bf16" else torch.float16
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    B = work.batch_size
    clips = torch.randn(B, 3, work.clip_len, *work.crop, device=device).to(memory_format=torch.channels_last_3d)
    targets = torch.arange(B, device=device) % 2
    batch = Batch(torch.zeros(B, 1, 1, 1, 3, dtype=torch.uint8), targets.cpu(), torch.arange(B), torch.ones(B), np.arange(B))  # its frames are not looked at
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    def step():
        with torch.autocast(device.type, half, enabled=device.type == "cuda"): logits = bare(clips)
        scaler.scale(F.cross_entropy(logits.float(), targets)).backward()
        scaler.step(sgd)
        scaler.update()
        sgd.zero_grad()
    def plain():
        bare.train()
        for _ in range(steps): step()
    def loop(): our_epoch(net, optimizer, Batches([batch] * steps, steps, work), lambda *_, **__: clips, accelerator, c)
    def rate(run):
        wait()
        began = time.perf_counter()
        run()
        wait()
        return steps / (time.perf_counter() - began)
    for run in (plain, loop): run()
    return interleave({"bare": ("forward, loss, backward, step", lambda: rate(plain)), "loop": ("vidcls' loop", lambda: rate(loop))}, rounds, "steps/s")

def steady(raw: Work, prepared: "Work | None", device: torch.device, *, steps: int, warm: int = 1) -> tuple: # (rows, shares of the time spent waiting for data)
    "Clips per second that each side trains on, loader included, once it runs; in mixed precision on a GPU."
    waits, no = {}, missing_peer("torchcodec")
    def theirs(name, work):
        data = reference_data(work, "train")
        net = reference_net(work.model, len(data.classes)).to(device)
        optimizer, scaler = torch.optim.SGD(net.parameters(), 1e-4, **work.recipe), torch.amp.GradScaler() if device.type == "cuda" else None
        batches = iter(reference_loader(data, Forever(RandomClipSampler(data.video_clips, work.clips_per_video)), work))
        reference_epoch(net, islice(batches, warm), optimizer, device, scaler=scaler)
        return keep(name, reference_epoch(net, islice(batches, steps), optimizer, device, scaler=scaler))
    def ours(name, work):
        index = build_index(work.data, "train", cache=False, progress=False).usable(1)
        num_videos = -(-(steps + warm + 2) * work.batch_size // work.clips_per_video)
        many = VideoIndex(index.root, index.table.take(np.arange(num_videos) % len(index)), index.classes)  # the same videos again and again, as many as it takes
        clips = TrainClips(many, clip_len=work.clip_len, frame_rate=RECIPE["frame_rate"], size=work.size, clips_per_video=work.clips_per_video)
        plan = TrainPlan(len(many), work.clips_per_video, work.batch_size)
        accelerator, c, net, optimizer = our_loop(work, device, len(index.classes))
        transform, batches = ClipTransform(work.crop, RECIPE["mean"], RECIPE["std"], train=True), iter(ClipLoader(clips, plan, workers=work.workers, pin_memory=device.type == "cuda"))
        our_epoch(net, optimizer, Batches(islice(batches, warm), warm, work, clips), transform, accelerator, c)
        return keep(name, our_epoch(net, optimizer, Batches(islice(batches, steps), steps, work, clips), transform, accelerator, c))
    def keep(name, record):
        waits.setdefault(name, []).append(record["data_wait"])
        return record["clips_per_s"]
    rows = {"reference": ("torchvision, raw videos", not no and (lambda: theirs("reference", raw)), no), "ours": ("vidcls, raw videos", lambda: ours("ours", raw))}
    if prepared: rows |= {"reference prepared": ("torchvision, prepared videos", not no and (lambda: theirs("reference prepared", prepared)), no),
                          "ours prepared": ("vidcls, prepared videos", lambda: ours("ours prepared", prepared))}
    return interleave(rows, 3 if device.type == "cuda" else 1, "clips/s"), {name: statistics.median(w) for name, w in waits.items()}


# The whole call

def accuracy_of(runs: dict) -> dict:
    "Video top-1 of each seed, and what the sides differ by; with few videos and seeds, mostly chance."
    found = {name: [r["video_top1"] for r in records] for name, records in runs.items()}
    out = dict(video_top1=found, mean={name: statistics.mean(a) for name, a in found.items()}, against_reference={})
    for name in [name for name in found if name != "reference" and "reference" in found]:
        differences = [a - b for a, b in zip(found[name], found["reference"])]
        mean, error = statistics.mean(differences), statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else None
        verdict = "equal or better" if mean >= 0 else "not known from one seed" if error is None else "lower, but within two standard errors" if mean >= -2 * error else "lower"
        out["against_reference"][name] = dict(difference=mean, standard_error=error, verdict=verdict)
    return out

def target(group: str, rows: dict, row: str, wanted: float) -> dict:
    "What is wanted of a row, and what came out."
    got = rows[row]["ratio"]
    return dict(row=row, group=group, wanted=wanted, got=got, reached=None if got is None else got >= wanted)

def gpu_part(raw: Work, prepared: Work) -> "dict | str": # or why there is none
    "r2plus1d_18 on 16x112x112 in mixed precision: the loop, and both sides with their loaders."
    if not torch.cuda.is_available(): return "no CUDA device is available here"
    device, full = torch.device("cuda"), dict(model="r2plus1d_18", clip_len=16, size=(128, 171), crop=(112, 112), batch_size=24, workers=min(16, os.cpu_count()))
    big, small = replace(raw, **full), replace(prepared, **full)
    loop = loop_overhead(small, device, steps=10, rounds=8)
    rows, waits = steady(big, small, device, steps=40, warm=8)
    return dict(settings=asdict(small), loop=loop, rows=rows, data_wait=waits)

def end_to_end_bench(table: Path, *, videos: dict, seeds: int, gpu: bool, work: Work = Work(""), full: bool = True, rounds: int = 12, call=apart) -> dict: # see `print_bench`
    "Everything, into one result."
    env, began = environment(), time.perf_counter()
    with tempfile.TemporaryDirectory() as temp:
        raw = replace(work, data=str(link_videos(table, Path(temp, "raw"), videos)))
        small, parts = replace(raw, data=str(Path(temp, "prepared"))), {}
        with clock(parts, "prepare"): prepare(raw.data, small.data, workers=work.workers, progress=False)
        say("preparing", began)
        loop = loop_overhead(raw, torch.device("cpu"), rounds=rounds)
        say("the loop", began)
        rows, runs = end_to_end(raw, small, seeds, call=call)
        say("whole runs", began)
        big, waits = steady(replace(raw, model="r2plus1d_18", clip_len=16, size=(128, 171), crop=(112, 112), batch_size=4), None, torch.device("cpu"), steps=2) if full else ({}, {})
        on_gpu = gpu_part(raw, small) if gpu else "not asked for (--gpu)"
    parts_of = {"the loop": ("loop", loop), "one epoch and its evaluation": ("run", rows), "training r2plus1d_18, 16x112x112": ("full", big)}
    if isinstance(on_gpu, dict): parts_of |= {"the loop, GPU": ("gpu loop", on_gpu["loop"]), "training r2plus1d_18, 16x112x112, GPU, AMP": ("gpu", on_gpu["rows"])}
    groups = {group: [f"{prefix} {name}" for name in found] for group, (prefix, found) in parts_of.items() if found}
    every = {f"{prefix} {name}": row for prefix, found in parts_of.values() for name, row in found.items()}
    targets = [target("the loop", every, "loop loop", 0.97), *(target("one epoch and its evaluation", every, f"run {name}", 3) for name in ("ours", "ours prepared"))]
    facts = [dict(what="vidcls prepare, once, in none of the rows", value=parts["prepare"][0], unit="s")]
    if "reference" in runs:
        facts.append(dict(what="vidcls over torchvision, both on prepared videos", value=statistics.median(a["seconds"] / b["seconds"] for a, b in zip(runs["reference prepared"], runs["ours prepared"])), unit="times"))
        for name in ("ours", "ours prepared"): facts.append(dict(what=f"{rows[name]['what']}: CPU time, torchvision on raw videos over it", value=statistics.median(a["cpu_seconds"] / b["cpu_seconds"] for a, b in zip(runs["reference"], runs[name])), unit="times"))
    for name, share in waits.items(): facts.append(dict(what=f"r2plus1d_18: {big[name]['what']}, waiting for data", value=100 * share, unit="%"))
    for name, row in big.items():
        if row["median"]: facts.append(dict(what=f"r2plus1d_18: {row['what']}, the {runs['ours'][0]['train_clips']} clips of the epoch above, extrapolated from 2 steps", value=runs["ours"][0]["train_clips"] / row["median"], unit="s"))
    if isinstance(on_gpu, dict):
        targets.append(target("the loop, GPU", every, "gpu loop loop", 0.97))
        facts += [dict(what=f"GPU: {on_gpu['rows'][name]['what']}, waiting for data" + " (wanted: at most 5)" * (name == "ours prepared"), value=100 * share, unit="%") for name, share in on_gpu["data_wait"].items()]
    settings = asdict(raw) | dict(data=f"{table.resolve().parent.name}/{table.name}", videos=videos, seeds=seeds, seconds=time.perf_counter() - began)
    return dict(benchmark="end_to_end", environment=env, settings=settings, rows=every, groups=groups, targets=targets, facts=facts, runs=runs, accuracy=accuracy_of(runs), gpu_part=on_gpu)

def say(what: str, began: float): print(f"{time.perf_counter() - began:5.0f} s  {what}: done", file=sys.stderr, flush=True)

def print_runs(result: dict):
    "Where the time of whole runs goes, and what they have learnt."
    parts = list(dict.fromkeys(part for records in result["runs"].values() for r in records for part in r["parts"]))
    print(f"{'seconds (medians)':28}" + "".join(f"{part:>10}" for part in ["in all", "CPU", *parts]) + "  video top-1 of each seed")
    for name, records in result["runs"].items():
        cells = [*(statistics.median(r[key] for r in records) for key in ("seconds", "cpu_seconds")), *(statistics.median(r["parts"].get(part, 0) for r in records) for part in parts)]
        print(f"{result['rows'][f'run {name}']['what']:28}" + "".join(f"{cell:10.1f}" for cell in cells) + "  " + " ".join(f"{r['video_top1']:.1%}" for r in records))
    for name, a in result["accuracy"]["against_reference"].items():
        print(f"{result['rows'][f'run {name}']['what']}: video top-1 {a['difference']:+.1%} from torchvision's" + (f" ± {a['standard_error']:.1%}" if a["standard_error"] is not None else "") + f": {a['verdict']}")
    if isinstance(result["gpu_part"], str): print(f"GPU part skipped: {result['gpu_part']}")

def main():
    shared = next((p for p in (Path("shared/data/fights/index.csv"), Path("../shared/data/fights/index.csv")) if p.exists()), None)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-path", type=Path, default=shared, help="csv of videos: path,label,split (train, val)")
    parser.add_argument("--videos", type=int, nargs=2, default=(48, 24), help="for training, for evaluation; 0: all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--gpu", action="store_true", help="measure training on the GPU too")
    parser.add_argument("--out", default="benchmarks/results", help="folder of the JSON file")
    a = parser.parse_args()
    if a.data_path is None: parser.error("give --data-path, a csv of videos: path,label,split")
    result = end_to_end_bench(a.data_path, videos=dict(zip(("train", "val"), a.videos)), seeds=a.seeds, gpu=a.gpu)
    print_bench(result)
    print_runs(result)
    print(save_bench(result, a.out))


if __name__ == "__main__": main()
