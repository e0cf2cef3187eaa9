"Trackers get what was sent, and none of them can end a training or hold it up."
import sys
import time
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import pytest
from accelerate import Accelerator

from vidcls.clips import VidclsError
from vidcls.track import Tracking, check_trackers

CONFIG = dict(settings=dict(lr=0.1, train_crop_size=(32, 32), weights=None, amp=False, betas=[0.9, 0.999]), classes=["left", "right"], best=float("nan"))
needs_tensorboard = pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")


class StandIn(ModuleType):
    "As much of the `wandb` package as a training meets, kept in memory; `fail` names what raises, `hang` what does not return."
    def __init__(self, fail=None, hang=None):
        super().__init__("wandb")
        self.fail, self.hang, self.made, self.sent, self.finished, self.config = fail, hang, [], [], 0, SimpleNamespace(update=lambda values, **_: self.did("config", values))
        self.Settings = lambda **settings: settings
        self.run = SimpleNamespace(log=lambda values, step: self.did("log", self.sent.append((step, values))), finish=lambda: self.did("finish", setattr(self, "finished", self.finished + 1)))

    def init(self, **how):
        self.did("init", self.made.append(how))
        return self.run

    def did(self, what, _):
        if self.hang == what: time.sleep(5)
        if self.fail == what: raise ConnectionError(f"{what}: api.wandb.ai can't be reached\nand more that nobody wants to read")


@pytest.fixture
def wandb(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    def make(**how):
        monkeypatch.setitem(sys.modules, "wandb", module := StandIn(**how))
        return module
    return make


def scalars(folder):
    "{name: [(step, value), …]} as TensorBoard reads them."
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return {name: [(e.step, pytest.approx(e.value)) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def said(capsys): return [line for line in capsys.readouterr().out.splitlines() if line.startswith("tracker ")]


@needs_tensorboard
def test_records_are_written_and_read_back(tmp_path, capsys):
    tracking = Tracking(Accelerator(cpu=True), ["tensorboard"], tmp_path, CONFIG)
    tracking.log(dict(loss=1.5, clips=24, epoch=None, protocol=dict(views=5), text="text"), 3)
    tracking.log(dict(loss=float("nan"), clips=48), 6)
    tracking.close()
    read = scalars(tmp_path)
    assert read.keys() == {"loss", "clips"} and read["clips"] == [(3, 24), (6, 48)] and read["loss"][0] == (3, 1.5)
    hparams, = (tmp_path / "tensorboard").rglob("hparams.yml")
    assert "settings.train_crop_size: '[32, 32]'" in hparams.read_text() and "settings.weights: 'null'" in hparams.read_text()
    assert said(capsys) == []


@needs_tensorboard
def test_tensorboard_forgets_what_a_killed_run_drew_beyond_its_checkpoint(tmp_path):
    first = Tracking(None, ["tensorboard"], tmp_path, CONFIG)
    for step in (1, 2, 3, 4): first.log(dict(loss=step), step)
    first.close()
    again = Tracking(None, ["tensorboard"], tmp_path, CONFIG, step=2)
    for step in (3, 4, 5): again.log(dict(loss=step + 0.5), step)
    again.close()
    assert scalars(tmp_path)["loss"] == [(1, 1), (2, 2), (3, 3.5), (4, 4.5), (5, 5.5)]
    assert len(list((tmp_path / "tensorboard").rglob("hparams.yml"))) == 1


def test_a_run_that_goes_on_is_the_same_run_there(tmp_path, wandb):
    module = wandb()
    for step in (0, 8):
        tracking = Tracking(None, ["wandb"], tmp_path, CONFIG, step=step)
        tracking.log(dict(loss=0.5), step + 1)
        tracking.close()
    made = module.made
    assert len(made) == 2 and made[0]["id"] == made[1]["id"] and len(made[0]["id"]) >= 8
    assert made[0]["resume"] == "allow" and made[0]["project"] == "vidcls" and made[0]["name"] == tmp_path.name and made[0]["settings"]["init_timeout"] <= 60
    assert [step for step, _ in module.sent] == [1, 9] and module.finished == 2


@needs_tensorboard
@pytest.mark.parametrize("what, number", [("init", 0), ("config", 0), ("log", 1), ("finish", 3)])
def test_a_tracker_that_fails_is_said_once_and_dropped(what, number, tmp_path, wandb, capsys):
    module = wandb(fail=what)
    tracking = Tracking(None, ["wandb", "tensorboard"], tmp_path, CONFIG)
    for step in (1, 2, 3):
        tracking.log(dict(loss=step), step)
        time.sleep(0.05)
    tracking.close()
    line, = said(capsys)
    assert line.startswith(f"tracker wandb: {what}: api.wandb.ai can't be reached; ") and line in (tmp_path / "log.txt").read_text()
    assert len(module.sent) == number and scalars(tmp_path)["loss"] == [(1, 1), (2, 2), (3, 3)]


@pytest.mark.parametrize("what", ["init", "log", "finish"])
def test_a_tracker_that_hangs_holds_nobody_up(what, tmp_path, wandb, capsys):
    wandb(hang=what)
    began = time.monotonic()
    tracking = Tracking(None, ["wandb"], tmp_path, CONFIG, patience=0.3)
    for step in range(6):
        asked = time.monotonic()
        tracking.log(dict(loss=step), step)
        assert time.monotonic() - asked < 0.05
        time.sleep(0.1)
    tracking.close()
    assert time.monotonic() - began < 3
    line, = said(capsys)
    assert "within 0.3 s" in line


@needs_tensorboard
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of the thread in which TensorBoard writes
def test_a_full_disk_takes_only_the_tracker(tmp_path, capsys, monkeypatch):
    from tensorboard.summary.writer.record_writer import RecordWriter
    def full(self, *args): raise OSError(28, "No space left on device")
    tracking = Tracking(None, ["tensorboard"], tmp_path, CONFIG)
    monkeypatch.setattr(RecordWriter, "write", full)
    for step in range(20):
        tracking.log({f"value{k}": k for k in range(30)}, step)
        time.sleep(0.01)
    tracking.close()
    line, = said(capsys)
    assert line == "tracker tensorboard: [Errno 28] No space left on device; the training goes on without it"


def test_nobody_is_asked_for_a_key(tmp_path, wandb, capsys, monkeypatch):
    module = wandb()
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    Tracking(None, ["wandb"], tmp_path, CONFIG).close()
    assert said(capsys) == ["tracker wandb: nobody is logged in; run `wandb login`, set WANDB_API_KEY, or set WANDB_MODE=offline; the training goes on without it"] and not module.made
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password " + "0" * 40)
    (tmp_path / "netrc").chmod(0o600)
    Tracking(None, ["wandb"], tmp_path, CONFIG).close()
    (tmp_path / "netrc").unlink()
    monkeypatch.setenv("WANDB_MODE", "offline")
    Tracking(None, ["wandb"], tmp_path, CONFIG).close()
    assert len(module.made) == 2 and said(capsys) == []


def test_only_the_first_process_sends(tmp_path, wandb):
    module = wandb()
    tracking = Tracking(SimpleNamespace(is_main_process=False), ["wandb"], tmp_path / "none", CONFIG)
    tracking.log(dict(loss=1), 1)
    tracking.close()
    assert not module.made and not (tmp_path / "none").exists()


@pytest.mark.parametrize("name, pip", [("tensorboard", 'pip install "vidcls[track]"'), ("wandb", "pip install wandb")])
def test_a_missing_package_is_one_sentence(name, pip, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(VidclsError) as e: check_trackers([name])
    assert str(e.value) == f"--track {name}: {name} is not installed; {pip}, or train without it"


def test_unknown_trackers_are_refused(wandb):
    wandb()
    check_trackers(["wandb"])
    with pytest.raises(VidclsError, match="--track mlflow is not known; there are tensorboard, wandb"): check_trackers(["mlflow"])
