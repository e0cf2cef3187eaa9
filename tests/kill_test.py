"""Kill a training again and again, start the same command until it ends, and compare it with one that was left alone, bit for bit.

    python tests/kill_test.py --points 20 --processes 1 --workers 2 --seed 0

Each point is a training in a folder of its own, ended by SIGKILL, with all its processes, at a random moment: some time after its start, while a checkpoint is being written, or at a certain opening, renaming or removal of a file.
Then come signals, `--max-hours`, damaged checkpoints and disks that can't be written. Any difference is named, and makes the exit code 1. test_resume.py holds a short version, on the functions of this file.
"""
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads would starve the loader's workers
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the same order of additions in every run, so weights are equal to the bit
import argparse
import atexit
import ctypes
import json
import random
import resource
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from importlib.util import find_spec
from pathlib import Path

FLAGS = ["--model", "kill_test:tiny_net", "--clip-len", "4", "--frame-rate", "8", "--clips-per-video", "2", "--train-resize-size", "26", "26", "--train-crop-size", "24", "24", "--val-resize-size", "26", "26",
         "--val-crop-size", "24", "24", "--accumulate", "2", "--epochs", "3", "--lr", "0.02", "--lr-warmup-epochs", "1", "--lr-milestones", "2", "--label-smoothing", "0.1", "--ema-decay", "0.8",
         "--clip-grad", "2", "--mixup", "0.4", "--random-erasing", "0.3", "--rand-augment", "1", "--print-freq", "2", "--device", "cpu"]
BATCH = 4  # clips in all processes together
TIMES = {"seconds", "clips_per_s", "data_wait", "memory_gb", "hours", "gpu_memory", "time"}  # what may differ between two runs of the same training

os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])  # where a training finds the network


def tiny_net(num_classes: int = 400):
    "A network that trains in no time, with all that a checkpoint must carry: batch norms, and dropout, which draws random numbers in every step."
    from torch import nn
    return nn.Sequential(nn.Conv3d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm3d(8), nn.ReLU(), nn.Conv3d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm3d(16), nn.ReLU(),
                         nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(16, num_classes))


# ---------- trainings that start quickly: forked from a process that has imported all they need ----------

def serve():
    "Fork what stdin asks for, a line each; answer on stdout. Nothing here touches a tensor, so there are no threads that a fork could lose."
    import torch
    import vidcls.plots
    import vidcls.train
    from vidcls.models import list_models
    list_models()  # imports every family of networks
    if find_spec("pandas"): import pandas  # which pyarrow does, where it is there
    vidcls.plots.write_report = lambda folder, **what: Path(folder) / "index.html"  # pictures are not compared, and take longer than a tiny training
    answer = lambda what: print(json.dumps(what), flush=True)
    answer("ready")
    for line in sys.stdin:
        ask = json.loads(line)
        if "pid" in ask:
            done, status = os.waitpid(ask["pid"], os.WNOHANG)
            answer(os.waitstatus_to_exitcode(status) if done else None)
            continue
        pids = []
        for env in ask["envs"]:
            pid = os.fork()
            if not pid: _child(ask, env, pids[0] if pids else 0)
            pids.append(pid)
            os.setpgid(pid, pids[0])
        answer(pids)


def _child(ask: dict, env: dict, group: int):
    "What a fork does: one process of a training, as `python -m vidcls.train` would."
    code = 1
    try:
        _settle(ask, env, group)
        if ask["call"]: globals()[ask["call"]](*ask["args"])
        else: runpy.run_module("vidcls.train", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as e: code = e.code or 0
    except BaseException: traceback.print_exc()
    atexit._run_exitfuncs()  # ends the loader's workers; to take half a gigabyte of modules apart would be a waste
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _settle(ask: dict, env: dict, group: int):
    "Become like a new process."
    try: os.setpgid(0, group)
    except PermissionError: pass  # the parent has done it
    log = os.open(ask["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for fd, target in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)): os.dup2(fd, target)
    for number in (signal.SIGTERM, signal.SIGUSR1): signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(env)
    seed = int.from_bytes(os.urandom(4), "little")  # a new process would not inherit the state of a generator either
    random.seed(seed)
    sys.modules["numpy"].random.seed(seed)
    sys.modules["torch"].manual_seed(seed)
    sys.argv = ["vidcls.train", *ask["args"]]
    warnings.filterwarnings("ignore", message=".*found in sys.modules.*")
    for name, args in ask["before"].items(): globals()[name](*args)


def die_at_file_event(folder: str, number: int):
    "In a fork: kill the whole group when Python opens, renames, makes or removes a file of the folder for this time."
    seen = [0]
    def hook(event, args):
        if event not in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link") or not str(args[0]).startswith(folder): return
        seen[0] += 1
        if seen[0] == number: os.killpg(os.getpgrp(), signal.SIGKILL)
    sys.addaudithook(hook)


def slow_evaluation(rank: str, seconds: str):
    "In a fork: one of the processes takes longer to evaluate."
    if os.environ["RANK"] != rank: return
    import vidcls.train
    evaluate = vidcls.train.evaluate
    def slow(*args, until, **how):
        time.sleep(float(seconds))
        return evaluate(*args, until=until, **how)
    vidcls.train.evaluate = slow


def full_disk(most: int):
    "In a fork: no file can grow beyond so many bytes."
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def nobodys_rights():
    "In a fork: give up what lets root write where it must not."
    header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert os.geteuid() or ctypes.CDLL(None, use_errno=True).capset(header, nothing) == 0


def save(folder: str, number: str, event: str):
    "In a fork: save a checkpoint with a certain number in it, as last and best; killed at this file event, 0 for none."
    import torch
    from vidcls.checkpoint import Checkpoint, Run
    number, event = int(number), int(event)
    if event: die_at_file_event(folder, event)
    weights = dict(weight=torch.full((50, 50), float(number)))
    Run(folder).save("last", Checkpoint(weights, dict(optimizer=weights), dict(epoch=number, step=number, best=number)), keep=2)
    Run(folder).promote("best")


class Job:
    "A training that runs, of one or more processes."
    def __init__(self, warm: "Warm", pids: list): self.warm, self.pids, self.codes = warm, pids, {}

    def ended(self) -> bool:
        for pid in self.pids:
            if pid not in self.codes and (code := self.warm.ask(pid=pid)) is not None: self.codes[pid] = code
        return len(self.codes) == len(self.pids)

    def wait(self, timeout: float = 120.) -> list: # exit codes
        "Wait for the end. What takes longer is killed, and an error."
        deadline = time.monotonic() + timeout
        while not self.ended():
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f"the training has not ended within {timeout:g} s")
            time.sleep(0.01)
        return [self.codes[pid] for pid in self.pids]

    def send(self, number: int, rank: "int | None" = None):
        "Send a signal to the whole group, loader's workers included, or to one process."
        try: os.killpg(self.pids[0], number) if rank is None else os.kill(self.pids[rank], number)
        except ProcessLookupError: pass

    def kill(self):
        self.send(signal.SIGKILL)
        return self.wait()


class Warm:
    "A process that has imported vidcls, and forks trainings."
    def __init__(self):
        self.process = subprocess.Popen([sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert json.loads(self.process.stdout.readline()) == "ready"
        self.jobs = []

    def ask(self, **what):
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self,
        args: list, # of the command line
        log, # file for what it prints
        *,
        processes: int = 1, # of the training
        call: "str | None" = None, # a function of this file to call in the place of a training
        **before, # functions of this file to call first, with their arguments
    ) -> Job:
        self.jobs = [job for job in self.jobs if not job.ended()]
        envs = [{}] if processes == 1 else [dict(RANK=str(r), LOCAL_RANK=str(r), WORLD_SIZE=str(processes), LOCAL_WORLD_SIZE=str(processes), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
                                            for port in [free_port()] for r in range(processes)]
        self.jobs.append(Job(self, self.ask(args=[str(a) for a in args], log=str(log), envs=envs, call=call, before=before)))
        return self.jobs[-1]

    def close(self):
        for job in self.jobs:
            if not job.ended(): job.send(signal.SIGKILL)
        self.process.stdin.close()
        self.process.wait(10)

    def __enter__(self): return self
    def __exit__(self, *_): self.close()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# ---------- what is compared ----------

def differences(
    ours, # run folder
    theirs, # run folder of a training that was left alone
) -> list: # sentences; empty where all is equal, to the bit
    "Weights, optimiser and state of the last and the best checkpoint, records of epochs and steps, and the final evaluation."
    from vidcls.checkpoint import Run
    a, b, found = Run(ours), Run(theirs), []
    for name in ("last", "best"):
        x, y = a.load(name), b.load(name)
        for part in ("model", "training", "state"): found += _differ(getattr(x, part), getattr(y, part), f"{name}/{part}")
    found += _differ(a.records(), b.records(), "metrics.jsonl")
    if [r["epoch"] for r in a.records()] != list(range(1, len(b.records()) + 1)): found.append(f"metrics.jsonl: epochs {[r['epoch'] for r in a.records()]}")
    found += _differ(_lines(a.folder / "steps.jsonl"), _lines(b.folder / "steps.jsonl"), "steps.jsonl")
    found += _differ(*(json.loads((r.folder / "metrics.json").read_text()) for r in (a, b)), "metrics.json")
    return found


def _lines(file: Path) -> list: return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _differ(a, b, where: str) -> list:
    import torch
    if isinstance(a, dict) and isinstance(b, dict):
        lost = [f"{where}: only one of them has {key}" for key in a.keys() ^ b.keys() if key not in TIMES]
        return lost + [d for key in a.keys() & b.keys() if key not in TIMES | {"files"} for d in _differ(a[key], b[key], f"{where}.{key}")]
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        if len(a) != len(b): return [f"{where}: {len(a)} entries, not {len(b)}"]
        return [d for i, (x, y) in enumerate(zip(a, b)) for d in _differ(x, y, f"{where}[{i}]")]
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape and a.contiguous().view(-1).view(torch.uint8).equal(b.contiguous().view(-1).view(torch.uint8)) if a.dim() else a.equal(b)
        return [] if same else [f"{where}: tensors differ"]
    return [] if a == b or a != a and b != b else [f"{where}: {a!r}, not {b!r}"]


# ---------- trainings ----------

class Trainings:
    "A data set, a training that was left alone, and others like it."
    def __init__(self, warm: Warm, folder, *, processes: int = 1, workers: int = 0, flags: tuple = ()):
        from vidcls.toy import write_moving_shapes
        self.warm, self.folder, self.processes = warm, Path(folder), processes
        data = self.folder / "shapes"
        if not data.exists(): write_moving_shapes(data, num_train=5, num_val=2, classes=("left", "right", "up", "down"), progress=False)
        self.flags = [*FLAGS, "--data-path", data, "-b", BATCH // processes, "-j", workers, *flags]
        self.whole, self.count = self.folder / f"whole{processes}", 0

    def leave_alone(self, real: bool = True) -> float: # seconds that it takes
        "Train to the end, undisturbed; with `real` by `python -m vidcls.train` itself, without workers, to have something to compare with."
        if real and not self.whole.exists():
            args = [sys.executable, "-m", "vidcls.train"] if self.processes == 1 else [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={self.processes}", f"--master_port={free_port()}", "-m", "vidcls.train"]
            done = subprocess.run([*args, *map(str, self.flags), "-j", "0", "--output-dir", str(self.whole)], capture_output=True, text=True)
            if done.returncode: raise RuntimeError(f"the training that is left alone fails:\n{done.stdout[-1500:]}{done.stderr[-3000:]}")
        began = time.monotonic()
        if codes := [code for code in self.end(self.start(self.new())) if code]: raise RuntimeError(f"a training that nobody kills ends with {codes[0]}:\n{self.said()}")
        if not self.whole.exists(): self.here.rename(self.whole)
        elif wrong := differences(self.here, self.whole): raise RuntimeError("two trainings that nobody kills differ: " + "; ".join(wrong[:5]))
        return time.monotonic() - began

    def new(self) -> Path:
        "A folder for another training."
        self.count += 1
        self.here = self.folder / f"run{self.processes}-{self.count}"
        return self.here

    def start(self, folder, *flags, **before) -> Job: return self.warm.start([*self.flags, "--output-dir", folder, *flags], f"{folder}.log", processes=self.processes, **before)

    def end(self, job: Job) -> list: # exit codes
        "Wait for the end, which has to follow soon on the last words."
        codes, silent = job.wait(), time.time() - Path(f"{self.here}.log").stat().st_mtime
        if silent > 25: raise RuntimeError(f"after its last words the training took {silent:.0f} s to end:\n{self.said()}")
        return codes

    def said(self) -> str: return Path(f"{self.here}.log").read_text()[-4000:]

    def finish(self, *flags, **before):
        "Start the same command once more, to its end."
        codes = self.end(self.start(self.here, *flags, **before))
        if any(codes): raise RuntimeError(f"started again, it ends with {codes}:\n{self.said()}")

    def wrong(self) -> list: # sentences
        "How the training differs from the one that was left alone."
        return differences(self.here, self.whole)

    def kept(self) -> str:
        "What the last checkpoint holds."
        try: state = json.loads((self.here / "last/state.json").read_text())
        except (OSError, ValueError): return "nothing" if not (self.here / "older").exists() else "an older checkpoint"
        return f"step {state['step']}"


# ---------- ways to end a training ----------

def kill_after(job: Job, seconds: float) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not job.ended(): time.sleep(min(0.01, max(0., deadline - time.monotonic())))
    return _killed(job, f"after {seconds:.2f} s")


def kill_while_saving(job: Job, folder: Path, wait: float, delay: float) -> str:
    "Kill it once a checkpoint is being written, the first one after so many seconds."
    ready = time.monotonic() + wait
    while not job.ended():
        deadline = time.monotonic() + 0.02
        while time.monotonic() < deadline:
            if time.monotonic() > ready and any((folder / f".{name}.part").exists() for name in ("last", "best")):
                time.sleep(delay)
                return _killed(job, f"{delay * 1000:.1f} ms into a save")
    return "not at all"


def _killed(job: Job, where: str) -> str: return where if -signal.SIGKILL in job.kill() else "not at all"


def random_kill(t: Trainings, seconds: float, rng: random.Random, *flags) -> str: # where it was killed
    "Start, or go on, and kill at a random moment."
    how = rng.choice(("time", "time", "save", "save", "file"))
    if how == "time": return kill_after(t.start(t.here, *flags), rng.uniform(0, seconds))
    if how == "save": return kill_while_saving(t.start(t.here, *flags), t.here, rng.uniform(0, 0.8 * seconds), rng.choice((0, rng.uniform(0, 0.004), rng.uniform(0, 0.02))))
    number = rng.randrange(1, 200)
    job = t.start(t.here, *flags, die_at_file_event=[str(t.here), number])
    return f"at file event {number}" if -signal.SIGKILL in job.wait() else "not at all"


def wait_for(condition, job: Job, timeout: float = 60.):
    "Wait until something is there."
    deadline = time.monotonic() + timeout
    while not condition():
        if job.ended() or time.monotonic() > deadline: raise RuntimeError("the training has ended, or waits, before what was to happen")
        time.sleep(0.005)


# ---------- points, each a training; they return (what happened, how it differs) ----------

def point_killed(t: Trainings, seconds: float, rng: random.Random, kills: "int | None" = None) -> tuple:
    "Killed once, or several times in a row."
    t.new()
    flags, story, kills = ("--save-every", rng.randint(1, 6)), [], kills or rng.choice((1, 1, 1, 2, 3))
    for _ in range(kills):
        where = random_kill(t, seconds, rng, *flags)
        while where == "not at all" and not story:  # it was too late; a point without a kill is none
            shutil.rmtree(t.here)
            where = random_kill(t, 0.7 * seconds, rng, *flags)
        if where == "not at all":
            story.append("ended before it was killed again")
            break
        left = [f.name for f in t.here.glob(".*.part")] if t.here.exists() else []
        story.append(f"killed {where} ({f'{left[0]} left; ' if left else ''}on disk: {t.kept()})")
    t.finish(*flags)
    return f"save every {flags[1]}: " + ", ".join(story), t.wrong()


def point_signal(t: Trainings, number: int, rng: random.Random, rank: "int | None" = None) -> tuple:
    "Saved because of a signal, in the middle of an epoch."
    folder, expected = t.new(), 130 if number == signal.SIGINT else 75
    job = t.start(folder)
    wait_for(lambda: (folder / "steps.jsonl").exists(), job)
    time.sleep(rng.uniform(0, 0.3))
    job.send(number, rank)
    codes = t.end(job)
    wrong = [] if set(codes) == {expected} else [f"exit codes {codes}, not {expected}:\n{t.said()}"]
    story = f"{signal.Signals(number).name} to {'all' if rank is None else f'process {rank}'}: exit {codes[0]}, saved {t.kept()}"
    t.finish()
    return story, wrong + t.wrong()


def point_out_of_time(t: Trainings) -> tuple:
    "Twice `--max-hours`, so little that each turn gets one step done."
    t.new()
    codes = [code for _ in range(2) for code in t.end(t.start(t.here, "--max-hours", "0.0000001"))]
    story, wrong = f"--max-hours twice: exit {codes[0]}, saved {t.kept()}", [] if set(codes) == {75} else [f"exit codes {codes}:\n{t.said()}"]
    t.finish()
    return story, wrong + t.wrong()


def point_damaged(t: Trainings, how: str, rng: random.Random) -> tuple:
    "The newest checkpoint is not what was written."
    folder = t.new()
    job = t.start(folder, "--save-every", "2")
    wait_for(lambda: (folder / "older").exists() and any((folder / "older").iterdir()) and (folder / "last/state.json").exists(), job)
    job.kill()
    file = folder / "last" / rng.choice(("model.safetensors", "training.pt", "state.json") if how == "truncated" else ("model.safetensors", "training.pt"))
    if not file.parent.exists(): return point_damaged(t, how, rng)  # killed between two renames
    data = bytearray(file.read_bytes())
    if how == "truncated": data = data[:len(data) // 2]
    else: data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)
    t.finish("--save-every", "2")
    said = [line for line in t.said().splitlines() if "damaged" in line]
    return f"{file.name} {how}: {said[0] if said else 'nothing said'}", ([] if said else ["a damaged checkpoint is not mentioned"]) + t.wrong()


def point_no_room(t: Trainings, how: str) -> tuple:
    "A disk that is full, or a folder that is read-only, in the middle of a training."
    from vidcls.checkpoint import Run
    folder = t.new()
    job = t.start(folder, "--save-every", "4", nobodys_rights=[])
    wait_for((folder / "last/state.json").exists, job)
    if how == "full disk":
        job.kill()
        job = t.start(folder, "--save-every", "4", full_disk=[20_000])
    else: folder.chmod(0o555)
    began = time.monotonic()
    try: codes = t.end(job)
    finally: folder.chmod(0o755)
    seconds = time.monotonic() - began
    said = [line for line in t.said().splitlines() if line.startswith("vidcls: ")]
    wrong = [] if set(codes) == {2} and len(said) == 1 and str(folder) in said[0] and "Traceback" not in t.said() and seconds < 45 else [f"exit codes {codes} after {seconds:.0f} s:\n{t.said()}"]
    story = f"{how}: exit {codes[0]}, the checkpoint of {t.kept()} is there ({said[0] if said else 'nothing said'})"
    Run(folder).load()
    t.finish("--save-every", "4")
    return story, wrong + t.wrong()


def point_elastic(t: Trainings, rng: random.Random) -> tuple:
    "One process of several is killed, and torchrun starts them all again."
    folder = t.new()
    args = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={t.processes}", "--max_restarts=1", f"--master_port={free_port()}", "-m", "vidcls.train", *map(str, t.flags), "--save-every", "2", "--output-dir", str(folder)]
    with open(f"{folder}.log", "w") as log: launcher = subprocess.Popen(args, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not (folder / "last/state.json").exists() and launcher.poll() is None and time.monotonic() < deadline: time.sleep(0.01)
        ranks = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != launcher.pid and _parent(pid) == launcher.pid and str(folder) in Path(f"/proc/{pid}/cmdline").read_text()]
        time.sleep(rng.uniform(0, 0.3))
        os.kill(rng.choice(ranks), signal.SIGKILL)
        code = launcher.wait(180)
    finally:
        if launcher.poll() is None: os.killpg(launcher.pid, signal.SIGKILL)
    said = [line for line in t.said().splitlines() if "goes on" in line or "resumed" in line]
    return f"one of {len(ranks)} processes killed, torchrun starts them again: {said[-1] if said else 'nothing said'}", ([] if code == 0 else [f"exit code {code}:\n{t.said()}"]) or t.wrong()


def _parent(pid) -> int:
    try: return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError: return 0


def main(args) -> int: # exit code
    rng, failed, began = random.Random(args.seed), 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Warm() as warm:
        t = Trainings(warm, folder, processes=args.processes, workers=args.workers)
        seconds = t.leave_alone()
        print(f"a training that nobody kills takes {seconds:.1f} s, and ends with the same bits twice", flush=True)
        rank = args.processes - 1
        points = [lambda: point_killed(t, seconds, rng)] * args.points
        if not args.kills_only:
            points += [lambda n=n, r=r: point_signal(t, n, rng, r) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT) for r in (None, rank)]
            points += [lambda: point_out_of_time(t)]
            points += [lambda: point_elastic(t, rng)] * (args.processes > 1)
            points += [lambda how=how: point_damaged(t, how, rng) for how in ("truncated", "flipped")]
            points += [lambda how=how: point_no_room(t, how) for how in ("full disk", "read-only folder")]
        for i, point in enumerate(points, 1):
            try: story, wrong = point()
            except Exception as e: story, wrong = "does not get to its end", [f"{type(e).__name__}: {e}"]
            print(f"{i:>3}/{len(points)}  {story}: {'DIFFERS' if wrong else 'same bits'}", *(f"         {w}" for w in wrong[:6]), sep="\n", flush=True)
            failed += bool(wrong)
            if not wrong: shutil.rmtree(t.here, ignore_errors=True)
        print(f"{len(points) - failed} of {len(points)} points end with the same weights, optimiser, records and metrics as the training that was left alone ({args.processes} process{'es' * (args.processes > 1)}, "
              f"{args.workers} workers, seed {args.seed}, {time.monotonic() - began:.0f} s)")
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]: sys.exit(serve())
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=20, help="trainings that are killed")
    parser.add_argument("--processes", type=int, default=1, choices=(1, 2, 4), help="of each training")
    parser.add_argument("--workers", type=int, default=2, help="of the loader, for each process")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--kills-only", action="store_true", help="without signals, damage and full disks")
    sys.exit(main(parser.parse_args()))
