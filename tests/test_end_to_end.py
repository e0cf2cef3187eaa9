"The comparison from the command to the accuracy: both sides run, see the same number of clips, and all of it survives as JSON. How fast they are is for a quiet machine."
import csv
import json
import sys

import pytest
import torch
from conftest import ROOT

from vidcls.bench import bench_table, missing_peer, save_bench
from vidcls.toy import write_moving_shapes

sys.path.insert(0, str(ROOT / "benchmarks"))
from end_to_end import Narrow, Work, end_to_end_bench, link_videos, print_runs, steady  # noqa: E402

pytestmark = pytest.mark.skipif(bool(missing_peer("torchcodec")), reason=str(missing_peer("torchcodec")))
SMALL = Work("", clip_len=4, size=(32, 32), crop=(32, 32), clips_per_video=2, batch_size=4, workers=1)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    "Moving Shapes, listed in a csv file as users have it."
    root = tmp_path_factory.mktemp("shapes")
    write_moving_shapes(root, classes=("left", "right"), num_train=4, num_val=2, progress=False)
    rows = [(f.relative_to(root), f.parent.name, f.parts[-3]) for f in sorted(root.rglob("*.mp4"))]
    with open(root / "index.csv", "w", newline="") as f: csv.writer(f).writerows([("path", "label", "split"), *rows])
    return root / "index.csv"


def test_whole_runs(table, tmp_path, capsys):
    def call(run, work, seed):
        (folder := tmp_path / f"run{len(list(tmp_path.iterdir()))}").mkdir()
        return run(work, seed, folder)
    result = end_to_end_bench(table, videos=dict(train=4, val=4), seeds=1, gpu=True, work=SMALL, full=False, rounds=1, call=call)
    assert json.loads(save_bench(result, tmp_path / "results").read_text()) == json.loads(json.dumps(result))
    assert {"benchmark", "environment", "settings", "rows", "groups", "targets", "facts", "runs", "accuracy", "gpu_part"} <= result.keys()
    assert {(r["train_clips"], r["val_clips"]) for records in result["runs"].values() for r in records} == {(8, 8)} and len(result["runs"]) == 4
    for records in result["runs"].values():
        for r in records:
            assert {"index", "train", "evaluate", "save"} <= r["parts"].keys() and 0 < sum(r["parts"].values()) <= r["seconds"] * 1.001 and 0 <= r["video_top1"] <= 1
    assert {"loop bare", "loop loop", "run reference", "run ours", "run ours prepared", "run reference prepared"} <= result["rows"].keys()
    assert set(result["accuracy"]["against_reference"]) == {"ours", "ours prepared", "reference prepared"}
    print_runs(result)
    told = capsys.readouterr().out + bench_table(result)
    assert "vidcls' loop" in told and "video top-1" in told
    if not torch.cuda.is_available(): assert result["gpu_part"] == "no CUDA device is available here" and "GPU part skipped: no CUDA device" in told


def test_training_alone(table, tmp_path):
    "What measures r2plus1d_18 on a GPU, with a small network on the CPU."
    work = Work(str(link_videos(table, tmp_path, dict(train=4, val=2))), **{k: getattr(SMALL, k) for k in ("clip_len", "size", "crop", "clips_per_video", "batch_size", "workers")})
    rows, waits = steady(work, work, torch.device("cpu"), steps=2)
    assert list(rows) == list(waits) == ["reference", "ours", "reference prepared", "ours prepared"]
    assert all(row["median"] > 0 and 0 <= waits[name] <= 1 for name, row in rows.items())


def test_one_network():
    from vidcls.models import create_model
    theirs, ours = Narrow(2), create_model("r2plus1d_tiny", num_classes=2)
    assert sorted(tuple(p.shape) for p in theirs.state_dict().values()) == sorted(tuple(p.shape) for p in ours.state_dict().values())
