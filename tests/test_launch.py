"Every way to start many processes: config files, torchrun on two nodes, accelerate, srun, a notebook; and that their number changes nothing but the time."
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from conftest import ROOT
from kill_test import free_port
from test_train import FLAGS, same, shapes  # noqa: F401, a fixture

from vidcls.checkpoint import Run
from vidcls.config import TrainConfig, parse_config
from vidcls.train import evaluate_run

CONFIGS, TORCHRUN, ACCELERATE = ROOT / "configs", [sys.executable, "-m", "torch.distributed.run"], [sys.executable, "-m", "accelerate.commands.launch"]
TRAIN = ["-m", "vidcls.train", *FLAGS, "--device", "cpu"]


def start(args, **env):
    "A process in the background; what it says is kept."
    return subprocess.Popen([str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | dict(OMP_NUM_THREADS="1") | env)


def finish(*processes, code: int = 0) -> str:
    "Wait for processes; what they have said."
    told = [p.communicate(timeout=300) for p in processes]
    for p, (_, err) in zip(processes, told): assert p.returncode == code, err[-3000:]
    return "".join(out for out, _ in told)


def metrics(run) -> dict:
    "What an evaluation has written, but for how long it took."
    return {k: v for k, v in json.loads((run.folder / "metrics.json").read_text()).items() if "seconds" not in k}


def config_of(*flags) -> TrainConfig: return parse_config(list(map(str, [*FLAGS, *flags])))


# ---- what accelerate makes of the config files ------------------------------------------------------------------------

LAUNCHED = {"cpu": dict(processes=1, precision="no", cpu="True"), "one_gpu": dict(processes=1, precision="bf16", cpu="False"),
            "eight_gpus": dict(nodes="1:1", processes="8", precision="bf16"), "two_nodes": dict(nodes="2", processes="8", precision="bf16", node=1, endpoint="10.0.0.1:29500")}


@pytest.mark.parametrize("name", LAUNCHED)
def test_a_config_file_starts_what_its_name_says(name, monkeypatch):
    from accelerate.commands import launch
    from torch.distributed import run as torchrun
    seen = {}
    class Plain:
        returncode = 0
        def __init__(self, cmd, env): seen.update(processes=1, precision=env["ACCELERATE_MIXED_PRECISION"], cpu=env["ACCELERATE_USE_CPU"], command=cmd[1:])
        def wait(self): pass
    def many(args):
        seen.update(nodes=args.nnodes, processes=args.nproc_per_node, precision=os.environ["ACCELERATE_MIXED_PRECISION"], command=["-m"] * args.module + [args.training_script, *args.training_script_args])
        if args.nnodes == "2": seen.update(node=args.node_rank, endpoint=args.rdzv_endpoint)
    monkeypatch.setattr(launch.subprocess, "Popen", Plain)
    monkeypatch.setattr(torchrun, "run", many)
    where = ["--machine_rank=1", "--main_process_ip=10.0.0.1"] if name == "two_nodes" else []
    launch.launch_command(launch.launch_command_parser().parse_args(["--config_file", str(CONFIGS / f"{name}.yaml"), *where, "-m", "vidcls.train", "--data-path", "x"]))
    assert seen == LAUNCHED[name] | dict(command=["-m", "vidcls.train", "--data-path", "x"])


def test_there_are_no_other_config_files(): assert {f.stem for f in CONFIGS.glob("*.yaml")} == set(LAUNCHED)


def test_accelerate_launch_on_a_cpu(shapes, tmp_path):
    said = finish(start([*ACCELERATE, "--config_file", CONFIGS / "cpu.yaml", *TRAIN, "--epochs", 1, "--data-path", shapes, "--output-dir", tmp_path / "r"]))
    assert "global batch 8 (8 clips x 1 process x" in said and len(Run(tmp_path / "r").records()) == 1


# ---- torchrun: two nodes, and a worker that dies -----------------------------------------------------------------------

def test_two_nodes_train_and_evaluate_as_one_process_does(shapes, tmp_path):
    meet = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{free_port()}", "--rdzv-id=7"]
    flags = ["-b", 3, "--data-path", shapes, "--output-dir", tmp_path / "r"]  # 8 videos to evaluate: batches of 3, 3, 2 in one process, of 3 and 1 in each of two
    said = finish(*[start([*TORCHRUN, *meet, *TRAIN, *flags]) for _ in range(2)])
    run = Run(tmp_path / "r")
    assert "global batch 6 (3 clips x 2 processes" in said and [r["clips"] for r in run.records()] == [24, 24]
    two = metrics(run)
    (run.folder / "metrics.json").unlink()
    evaluate_run(run, replace(config_of(*flags), device="cpu"), quiet=True)
    assert metrics(run) == two and two["videos"] == 8


EQUAL = ["--clips-per-video", 2, "--save-every", 2, "--freeze-norms"]  # PyTorch's synchronised batch norm needs GPUs
SEEN = """
import json, os, sys
import vidcls.train as train

class Seen(train.ClipLoader):
    def __iter__(self):
        for batch in super().__iter__():
            if hasattr(self.plan, "epoch"): taken.append(list(map(int, batch.seeds)))
            if len(taken) == die_at and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0": os.kill(os.getpid(), 9)
            yield batch

def job(c):
    train.ClipLoader, train.write_report = Seen, lambda folder, **what: folder  # drawings take longer than these trainings
    run = train.fit(c)
    (run.folder / f"taken-{os.environ.get('RANK', 0)}.json").write_text(json.dumps(taken))

taken, die_at = [], int(os.environ.get("DIE_AT", 0))
c = train.parse_config(sys.argv[1:])
if "PORT" in os.environ:
    from accelerate import notebook_launcher
    notebook_launcher(job, (c,), num_processes=2, use_port=os.environ["PORT"])
else: job(c)
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    "A script that trains and notes which clips were taken; a worker dies, or two are started as in a notebook, where the environment says so."
    file = tmp_path_factory.mktemp("driver") / "seen.py"
    file.write_text(SEEN)
    return file


@pytest.fixture(scope="module")
def two(shapes, driver):
    "Two processes of 8 clips, started by `notebook_launcher`."
    flags = [*FLAGS, "--device", "cpu", "--data-path", shapes, *EQUAL, "--output-dir", driver.parent / "two"]
    said = finish(start([sys.executable, driver, *flags], PORT=str(free_port())))
    assert "global batch 16 (8 clips x 2 processes" in said
    return Run(driver.parent / "two")


def taken(run) -> list:
    "The clips of each step of a run, as the seeds that belong to (epoch, video, clip), over all its processes."
    processes = [json.loads(f.read_text()) for f in sorted(run.folder.glob("taken-*.json"))]
    return [sorted(sum(step, [])) for step in zip(*processes, strict=True)]


def test_one_process_of_16_and_two_of_8_take_the_same_clips_to_the_same_losses(shapes, two, driver, tmp_path):
    finish(start([sys.executable, driver, *FLAGS, "--device", "cpu", "--data-path", shapes, *EQUAL, "-b", 16, "--output-dir", tmp_path / "one"]))
    one = Run(tmp_path / "one")
    steps = taken(one)
    assert [len(step) for step in steps] == [16] * 6 and steps == taken(two)
    assert len({*steps[0], *steps[1], *steps[2]}) == 48 and not {*steps[0]} & {*steps[3]}
    for a, b in zip(one.records(), two.records(), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5) and a["val_loss"] == pytest.approx(b["val_loss"], rel=1e-4)
    a, b = one.load().model, two.load().model
    for k in a: torch.testing.assert_close(a[k], b[k], rtol=1e-4, atol=1e-6, msg=lambda m: f"{k}: {m}")


def test_torchrun_restarts_what_a_dead_worker_has_ended(shapes, two, driver, tmp_path):
    "The 5th step of 6 is never done at first; the second attempt goes on after the 4th, and ends where an undisturbed run does."
    flags = [*FLAGS, "--device", "cpu", "--data-path", shapes, *EQUAL, "--output-dir", tmp_path / "r"]
    finish(start([*TORCHRUN, "--standalone", "--nproc-per-node=2", "--max-restarts=1", driver, *flags], DIE_AT="5"))
    run = Run(tmp_path / "r")
    assert len(taken(run)) == 2 and taken(run) == taken(two)[4:] and same(run.load().model, two.load().model)
    assert [r["loss"] for r in run.records()] == [r["loss"] for r in two.records()]


# ---- SLURM -------------------------------------------------------------------------------------------------------------

SRUN = """#!/bin/bash
echo "srun $*" >> "$SAID"
while [[ $1 == --* ]]; do shift; done
for ((i = 0; i < SLURM_NTASKS; i++)); do SLURM_PROCID=$i SLURM_LOCALID=$i SLURM_STEP_NUM_TASKS=$SLURM_NTASKS SLURM_STEP_NUM_NODES=1 "$@" & tasks+=($!); done
worst=0
for task in "${tasks[@]}"; do wait "$task"; code=$?; ((code > worst)) && worst=$code; done
exit $worst
"""
SCONTROL = """#!/bin/bash
echo "scontrol $*" >> "$SAID"
if [ "$1" = show ]; then echo 127.0.0.1; echo other; fi
if [ "$1" = requeue ]; then exit "${REFUSED:-0}"; fi
"""


@pytest.fixture
def cluster(tmp_path):
    "Run the batch script where srun and scontrol are small scripts; its exit code, what it printed, and how these were called."
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/activate").write_text(f'PATH="{tmp_path}:$PATH"\n')
    said = tmp_path / "said"
    for name, text in dict(srun=SRUN, scontrol=SCONTROL).items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    def submit(python: str, *args, tasks: int = 2, data="/data/kinetics400", **env):
        (tmp_path / "python").write_text(f"#!/bin/bash\n{python}\n")
        (tmp_path / "python").chmod(0o755)
        script = (CONFIGS / "slurm.sbatch").read_text()
        assert "--data-path /data/kinetics400 --output-dir" in script
        (tmp_path / "job").write_text(script.replace("/data/kinetics400", str(data)).replace(" --amp --cache-dataset", ""))
        done = subprocess.run(["bash", "job", *map(str, args)], cwd=tmp_path, capture_output=True, text=True, timeout=300, env={k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")} | dict(
            SAID=str(said), OMP_NUM_THREADS="1", SLURM_JOB_ID="1234", SLURM_JOB_NAME="job", SLURM_JOB_NODELIST="n[1-2]", SLURM_NTASKS=str(tasks), SLURM_NNODES="1", SLURM_CPUS_PER_TASK="1") | env)
        return done.returncode, done.stdout + done.stderr, said.read_text().splitlines()
    return submit


def test_a_job_that_has_saved_is_queued_again(cluster):
    code, told, said = cluster('exit $((75 * (SLURM_PROCID == 1)))', "--epochs", 3)
    assert code == 0 and "queued again" in told
    assert said == ["scontrol show hostnames n[1-2]", "srun --wait=60 python -m vidcls.train --data-path /data/kinetics400 --output-dir runs/job --workers 1 --epochs 3", "scontrol requeue 1234"]


@pytest.mark.parametrize("code", [0, 2, 1, 130, 137])
def test_a_job_that_ended_otherwise_is_not(cluster, code):
    got, told, said = cluster(f"exit {code}")
    assert got == code and len(said) == 2 and "queued" not in told


def test_a_queue_that_refuses_a_job_is_not_taken_for_success(cluster): assert cluster("exit 75", REFUSED="1")[0] == 75


def test_the_processes_of_a_job_know_where_they_meet(cluster):
    _, told, _ = cluster('echo "$MASTER_ADDR:$MASTER_PORT $SRUN_CPUS_PER_TASK"')
    assert told.splitlines() == ["127.0.0.1:21234 1"] * 2


def test_the_options_of_a_job_come_before_its_commands():
    "sbatch reads no further than the first command."
    lines = (CONFIGS / "slurm.sbatch").read_text().splitlines()
    commands = [i for i, line in enumerate(lines) if line and not line.startswith("#")]
    options = [i for i, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert max(options) < min(commands) and all(o in "".join(lines[i] for i in options) for o in ("--signal=USR1@120", "--requeue", "--open-mode=append"))


def test_two_tasks_of_a_job_train_together(cluster, shapes, tmp_path):
    code, told, _ = cluster(f'exec {sys.executable} "$@"', *FLAGS, "--epochs", 1, "-b", 4, "--device", "cpu", data=shapes)
    assert code == 0, told
    assert "global batch 8 (4 clips x 2 processes" in told and [r["clips"] for r in Run(tmp_path / "runs/job").records()] == [24]
