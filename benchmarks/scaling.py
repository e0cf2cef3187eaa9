"""What grows with the number of processes: start-up, index, memory, step, evaluation gather, checkpoint, measured for 1 to 4 of them.

    python benchmarks/scaling.py                     # some 2 minutes on 2 cores; writes benchmarks/results/scaling-DATE-TIME.json

The processes are started by torchrun, compute on the CPU and talk by gloo. The index is one of Kinetics' size, without its videos; the network is tiny, but for the checkpoint.
"""
import os
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # more processes than cores: none may spin while it waits
os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAIN, VAL, CLASSES, CLIPS, BATCH, ROUNDS = 240_000, 20_000, 400, 5, 8, 5  # Kinetics-400, nearly; the recipe's clips per video; clips of a step; repetitions
T, SIZE = 8, 32 # frames and pixels of the clips that the tiny network sees


def table(n: int, split: str):
    "The table of an index: no two rows alike in path, size and date."
    import numpy as np
    import pyarrow as pa

    from vidcls.index import SCHEMA
    rng, label = np.random.default_rng(0), [f"class {i % CLASSES:03}" for i in range(n)]
    names = [f"{split}/{c}/{a:011x}_000010_000020.mp4" for c, a in zip(label, rng.integers(0, 1 << 44, n))]
    columns = dict(path=names, label=label, split=[split] * n, container=["mov"] * n, codec=["h264"] * n, width=[340] * n, height=[256] * n, rotation=[0] * n, num_frames=rng.integers(150, 300, n),
                   fps_num=[30] * n, fps_den=[1] * n, timing=["constant"] * n, start=[0] * n, time_base_num=[1] * n, time_base_den=[15360] * n, keyframe_gap=[12] * n, audio=[True] * n,
                   duration=rng.uniform(5, 10, n), file_size=rng.integers(200_000, 900_000, n), mtime_ns=rng.integers(1 << 60, 1 << 61, n), problem=[None] * n, detail=[None] * n)
    return pa.table([pa.array(columns[f.name], pa.string()).dictionary_encode() if pa.types.is_dictionary(f.type) else pa.array(columns[f.name], f.type) for f in SCHEMA], schema=SCHEMA)


def read(folder: Path) -> list: # (training videos, validation videos)
    "What `build_index` does with the tables that it has kept, but for asking the file system after each video."
    import numpy as np
    import pyarrow as pa

    from vidcls.index import VideoIndex, _read_cache
    tables = [_read_cache(folder / f"{split}.parquet") for split in ("train", "val")]
    return [VideoIndex("/data", t.take(pa.array(np.arange(len(t)))), [f"class {k:03}" for k in range(CLASSES)]) for t in tables]


def timed(work, before=lambda: None) -> list: # seconds
    "How long something takes, several times; `before` brings the processes together."
    seconds = []
    for _ in range(ROUNDS):
        before()
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return seconds


def member(folder: Path, began: float) -> dict:
    "What one process finds."
    import torch
    from torch.nn import functional as F

    from vidcls.bench import memory
    from vidcls.checkpoint import Checkpoint, Run
    from vidcls.config import TrainConfig
    from vidcls.data import TrainPlan
    from vidcls.models import create_model
    from vidcls.processes import broadcast_tensors, on_main, start
    clock, seen = time.time, {}
    seen["import"], here = clock() - began, clock()
    accelerator = start(TrainConfig(device="cpu", join_timeout=120.))
    seen["join"], rank, world = clock() - here, accelerator.process_index, accelerator.num_processes
    empty = seen["empty_memory"] = memory()

    here = clock()
    held = on_main(accelerator, lambda: read(folder))
    seen["index"], seen["index_bytes"], seen["index_memory"] = clock() - here, len(pickle.dumps([held, None])), memory() - empty
    seen["broadcast"] = timed(lambda: on_main(accelerator, lambda: held), accelerator.wait_for_everyone)
    plan = TrainPlan(len(held[0]), CLIPS, 24, rank=rank, world_size=world)
    seen["plan"] = timed(plan.layout)

    torch.manual_seed(0)
    model = create_model("r2plus1d_tiny", num_classes=CLASSES)
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), 0.01, 0.9))
    clips, targets = torch.rand(BATCH, 3, T, SIZE, SIZE), torch.zeros(BATCH, dtype=torch.int64)
    def step():
        accelerator.backward(F.cross_entropy(model(clips), targets))
        optimizer.step()
        optimizer.zero_grad()
    step()
    seen["first_step"] = clock() - began
    seen["step"] = timed(step)

    results = torch.rand(VAL, CLASSES + 4)
    seen["gather"], seen["gather_bytes"] = timed(lambda: accelerator.reduce(results), accelerator.wait_for_everyone), results.numel() * results.element_size()
    seen["memory"] = memory()
    del results

    if rank == 0:
        large = create_model("r2plus1d_18", num_classes=CLASSES)
        sgd = torch.optim.SGD(large.parameters(), 0.01, 0.9)
        for p in large.parameters(): p.grad = torch.zeros_like(p)
        sgd.step()
        kept, run = Checkpoint(large.state_dict(), dict(optimizer=sgd.state_dict()), dict(epoch=1, step=1, best=0., metrics={})), Run(folder / f"run-{world}")
        run.create({})
    seen["checkpoint"] = timed(lambda: on_main(accelerator, lambda: run.save("last", kept)), accelerator.wait_for_everyone)
    seen["checkpoint_bytes"] = sum(f.stat().st_size for f in (folder / f"run-{world}/last").iterdir())
    seen["resume"] = timed(lambda: broadcast_tensors(accelerator, lambda: vars(run.load("last"))), accelerator.wait_for_everyone)
    accelerator.end_training()
    return seen


def team(world: int, folder: Path) -> dict: # figures by name
    "Start so many processes; the slowest of them counts, the median of the rounds."
    out = folder / f"seen-{world}"
    out.mkdir()
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"] if world > 1 else [sys.executable]
    subprocess.run([*launcher, __file__, "member", str(folder), str(out), str(time.time())], check=True)
    members = [json.loads(f.read_text()) for f in out.iterdir()]
    middle = lambda v: statistics.median(v) if isinstance(v, list) else v
    return dict(processes=world) | {name: max(middle(m[name]) for m in members) for name in members[0]} | dict(rounds={k: v for k, v in members[0].items() if isinstance(v, list)})


def main():
    import pyarrow.parquet as pq

    from vidcls.bench import environment, save_bench
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for split, n in (("train", TRAIN), ("val", VAL)): pq.write_table(table(n, split), folder / f"{split}.parquet")
        files = sum(f.stat().st_size for f in folder.iterdir())
        reading = statistics.median(timed(lambda: read(folder)))
        result = dict(benchmark="scaling", environment=environment(), settings=dict(train=TRAIN, val=VAL, classes=CLASSES, clips_per_video=CLIPS, batch=BATCH, rounds=ROUNDS, network="r2plus1d_tiny", checkpoint="r2plus1d_18"),
                      facts=dict(index_file_bytes=files, index_reading=reading), rows=[])
        for world in (1, 2, 3, 4):
            result["rows"].append(row := team(world, folder))
            print("  ".join(f"{k} {v:.3g}" for k, v in row.items() if k != "rounds"), flush=True)
    print(save_bench(result, Path(__file__).parent / "results"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["member"]:
        seen = member(Path(sys.argv[2]), float(sys.argv[4]))
        Path(sys.argv[3], f"{os.environ.get('RANK', 0)}.json").write_text(json.dumps(seen))
    else: main()
