"What is handed over gives the run's logits to whoever opens it, or is not handed over."
import base64
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
import torchvision
from huggingface_hub import ModelCard
from torch import nn
from torchvision.models.video import resnet as tv

from vidcls import export as module
from vidcls.checkpoint import Checkpoint, Run, load_model
from vidcls.clips import VidclsError
from vidcls.export import FORMATS, export, from_pretrained, model_page, open_run, push_to_hub, torchvision_resnet
from vidcls.models import create_model, save_weights
from vidcls.predict import Classifier
from vidcls.config import TrainConfig
from vidcls.video import write_video
from vidcls.weights import misfits, read_file

needs_onnx = pytest.mark.skipif(not all(map(importlib.util.find_spec, ("onnx", "onnxscript", "onnxruntime"))), reason="onnx, onnxscript or onnxruntime is not installed: pip install vidcls[export]")
CLASSES = ["juggling | balls", "<b>tea</b>, pouring", "ходьба"]
PROTOCOL = dict(clip_len=4, frame_rate=8.0, clips_per_video=2, crops="centre", resize=[36, 40], resize_filter="swscale", crop=[32, 32], short_videos="loop", aggregation="mean of softmax", failed_videos="counted as wrong")


def make_run(folder, name="r2plus1d_tiny", sees=(4, 32, 32), classes=CLASSES, keep=("best", "last"), **kwargs) -> Run:
    "The folder that a training leaves, without the training: weights and running statistics are random, those of best and last differ."
    c = TrainConfig(model=name, data_path="/home/me/secret/my shapes", output_dir=str(folder), weights="/home/me/secret/start.pth", clip_len=sees[0], frame_rate=8, val_crop_size=sees[1:],
                    val_resize_size=(sees[1] + 4, sees[2] + 8), short="loop", clips_per_video=3, val_clips_per_video=2)
    run = Run(folder).create(dict(settings=asdict(c), model=dict(name=name, kwargs=kwargs), classes=classes, input=dict(mean=[0.4, 0.5, 0.6], std=[0.2, 0.3, 0.4]), processes=1, device="cpu", precision="no",
                                  data={s: dict(videos=9, fingerprint=f"{s}-print") for s in ("train", "val")}, versions=dict(python="3.11", vidcls="0.1.0", torch="2.15")))
    for epoch, where in enumerate(("best", "last"), 1):
        run.log(dict(epoch=epoch, loss=2.5 - epoch, video_top1=0.25, lr=0.1))
        if where not in keep: continue
        torch.manual_seed(epoch)
        net = create_model(name, num_classes=len(classes), **kwargs)
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm3d):
                for t, low, high in (layer.running_mean, -.1, .1), (layer.running_var, .5, 1.5), (layer.weight.data, .5, 1.5), (layer.bias.data, -.1, .1): t.uniform_(low, high)
        run.save(where, Checkpoint(net.state_dict(), {}, dict(epoch=epoch)))
    top = dict(video_top1=0.25, video_top5=1.0, clip_top1=0.125, clip_top5=0.875)
    about = dict(model=name, checkpoint="best", epoch=1, data_path="/home/me/secret/my shapes", data="val-print", precision="no", videos=9, failed_videos=1, failed=[["/home/me/secret/x.mp4", "cut"]], protocol=PROTOCOL)
    (run.folder / "metrics.json").write_text(json.dumps(top | about))
    (run.folder / "metrics-abc.json").write_text(json.dumps(top | about | dict(data_path="/elsewhere/others", video_top1=0.5)))
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory): return make_run(tmp_path_factory.mktemp("export") / "run")


def clips(run, n=2):
    model, _ = load_model(run)
    s = run.config["settings"]
    return torch.randn(n, model.in_channels, s["clip_len"], *s["val_crop_size"], generator=torch.Generator().manual_seed(n))


@torch.no_grad()
def gap(run, other, n=2, checkpoint="best"):
    "The largest difference of logits, as a share of the largest; the batch is not the one of the export's own check."
    x = clips(run, n)
    ours = load_model(run, checkpoint)[0](x)
    assert ours.shape == (n, len(run.config["classes"]))
    return ((other(x) - ours).abs().max() / ours.abs().max()).item()


SIMPLE, PLANE = tv.Conv3DSimple, tv.Conv3DNoTemporal
TORCHVISION = { # our name → clip, keywords; how torchvision builds it
    "r3d_18": ((4, 32, 32), {}, lambda n: torchvision.models.video.r3d_18(num_classes=n)),
    "mc3_18": ((4, 32, 32), {}, lambda n: torchvision.models.video.mc3_18(num_classes=n)),
    "r2plus1d_18": ((4, 32, 32), {}, lambda n: torchvision.models.video.r2plus1d_18(num_classes=n)),
    "mc4_18": ((4, 32, 32), {}, lambda n: tv.VideoResNet(tv.BasicBlock, [SIMPLE, SIMPLE, PLANE, PLANE], [2, 2, 2, 2], tv.BasicStem, n)),
    "r3d_50": ((4, 32, 32), {}, lambda n: tv.VideoResNet(tv.Bottleneck, [SIMPLE] * 4, [3, 4, 6, 3], tv.BasicStem, n)),
    "r2plus1d_10": ((4, 32, 32), dict(mid_per_conv=False), lambda n: tv.VideoResNet(tv.BasicBlock, [tv.Conv2Plus1D] * 4, [1, 1, 1, 1], tv.R2Plus1dStem, n)),
    "s3d": ((13, 224, 224), {}, lambda n: torchvision.models.video.s3d(num_classes=n)),
    "swin3d_t": ((4, 64, 64), {}, lambda n: torchvision.models.video.swin3d_t(num_classes=n)),
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_opens_it(name, tmp_path, capsys):
    "Batch norms of ours add 1e-3 to their variances where torchvision's add 1e-5: the difference has gone into the variances."
    clip, kwargs, build = TORCHVISION[name]
    run = make_run(tmp_path / "run", name, clip, keep=("best",), **kwargs)
    file = export(run, "torchvision")
    assert file == run.folder / f"export/{name}.pth" and [*file.parent.iterdir()] == [file]
    net = build(len(CLASSES))
    net.load_state_dict(torch.load(file, weights_only=True), strict=True)
    assert gap(run, net.eval(), 1) <= 1e-5
    assert f"num_classes={len(CLASSES)}) gives the logits" in capsys.readouterr().out
    if name != "s3d": assert gap(run, create_model(name, weights=file, **kwargs).eval(), 1) <= 1e-5, "and back again"


NOT_TORCHVISIONS = {
    "the paper's middle channels": ("r2plus1d_10", (4, 32, 32), {}, "torchvision has no network like r2plus1d_10"),
    "a stem of 2-D": ("rmc3_10", (4, 32, 32), {}, "stem.0.weight is 64x3x1x7x7, not 64x3x3x7x7"),
    "depthwise": ("ir_csn_26", (4, 64, 64), {}, "torchvision has no network like ir_csn_26"),
    "one channel": ("r3d_18", (4, 32, 32), dict(in_channels=1), "torchvision has no network like r3d_18"),
    "frames in the stem": ("r2d_10", (4, 32, 32), dict(clip=[4, 32, 32]), "torchvision has no network like r2d_10"),
    "keys alike, a pool in the stem": ("r3d_10", (4, 64, 64), dict(stem_pool=True), "gives other logits than the run"),
    "clips that torchvision's pool does not take": ("s3d", (16, 64, 64), {}, "does not take clips of 16x64x64"),
}


@pytest.mark.parametrize("case", NOT_TORCHVISIONS)
def test_what_torchvision_lacks_is_said(case, tmp_path):
    name, clip, kwargs, message = NOT_TORCHVISIONS[case]
    run = make_run(tmp_path / "run", name, clip, keep=("best",), **kwargs)
    with pytest.raises(VidclsError) as e: export(run, "torchvision")
    assert message in str(e.value) and "\n" not in str(e.value)
    assert not [*(run.folder / "export").iterdir()]


@pytest.mark.parametrize("name", ["mvit_v1_b", "mvit_v2_s", "swin3d_s", "swin3d_b"])
def test_torchvisions_transformers_fit(name):  # those that take long to compute; that the logits agree is a test of the models
    with torch.device("meta"):
        ours = create_model(name, num_classes=5)
        theirs, how = module._torchvision_network(ours, ours.state_dict())
    assert how == f"torchvision.models.video.{name}(num_classes=5)" and misfits(theirs, ours.state_dict()) == ""


@pytest.mark.parametrize("name", ["r3d_34", "mc2_16", "r3d_50"])
def test_torchvisions_blocks_from_keys(name):
    with torch.device("meta"): ours, (theirs, how) = create_model(name, num_classes=5).state_dict(), torchvision_resnet(create_model(name, num_classes=5).state_dict(), 5)
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    with torch.device("meta"): assert type(eval(how, vars(tv))) is type(theirs)


def test_safetensors_builds_itself_again(tmp_path):
    run = make_run(tmp_path / "run", in_channels=1)
    file = export(run, "safetensors", tmp_path / "deep/er/my.weights")
    net = create_model("r2plus1d_tiny", weights=file).eval()
    assert gap(run, net) == 0 and gap(run, net, checkpoint="last") > 0.01
    assert net.classes == tuple(CLASSES) and net.in_channels == 1
    assert (net.card.frames, net.card.frame_rate, net.card.resize, net.card.crop, net.card.mean, net.card.std) == (4, 8, (36, 40), (32, 32), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    assert gap(run, create_model("r2plus1d_tiny", weights=export(run, "safetensors", checkpoint="last")).eval(), checkpoint="last") == 0


def test_last_stands_in_for_best(tmp_path):
    run = make_run(tmp_path / "run", keep=("last",))
    assert open_run(run).epoch == 2
    assert "holds no evaluation" in model_page(open_run(run))  # those that are there belong to another epoch


def test_hub_folder(run, tmp_path):
    folder = export(run, "hub", tmp_path / "hub", repo_id="me/my-model")
    assert sorted(f.name for f in folder.iterdir()) == ["README.md", "config.json", "curves.png", "model.safetensors"]
    assert (folder / "curves.png").read_bytes()[:4] == b"\x89PNG"
    config, page = json.loads((folder / "config.json").read_text(encoding="utf-8")), (folder / "README.md").read_text(encoding="utf-8")
    assert config["model"] == dict(name="r2plus1d_tiny", kwargs={}) and config["classes"] == CLASSES and config["card"]["resize"] == [36, 40] and config["settings"]["clip_len"] == 4
    assert config["evaluations"][0]["protocol"] == PROTOCOL and config["evaluations"][1]["data_path"] == "others"
    for text in ((folder / "config.json").read_text(), page): assert "secret" not in text and "elsewhere" not in text and str(tmp_path) not in text
    card = ModelCard.load(folder / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag, card.data.model_name) == ("vidcls", "video-classification", "my-model")
    first = card.data.eval_results[0]
    assert (first.dataset_name, first.metric_type, first.metric_value, first.metric_args) == ("my shapes", "accuracy", 0.25, PROTOCOL) and "9 videos, 2 clips of 4 frames" in first.metric_name
    assert {(r.dataset_name, r.metric_value) for r in card.data.eval_results} >= {("others", 0.5), ("my shapes", 0.875)}
    for text in ('from_pretrained("me/my-model")', "25.0%", "juggling \\| balls", "&lt;b&gt;tea", "ходьба", "train-print", "| clip_len | 4 |", "| torch | 2.15 |", "curves.png", "783,490 parameters"): assert text in page, text


def test_hub_folder_as_weights(run, tmp_path):
    net = create_model("r2plus1d_tiny", weights=export(run, "hub", tmp_path / "hub")).eval()
    assert gap(run, net) == 0 and net.classes == tuple(CLASSES)


def test_predictions_are_the_runs(run, tmp_path):
    write_video(tmp_path / "v.mp4", np.random.default_rng(0).integers(0, 255, (20, 48, 64, 3), dtype=np.uint8), fps=8)
    ours = Classifier(run)(tmp_path / "v.mp4")
    for source in (export(run, "hub", tmp_path / "hub"), str(tmp_path / "hub")):
        theirs = from_pretrained(source)(tmp_path / "v.mp4")
        assert theirs.classes == ours.classes and theirs.times == ours.times and np.allclose(theirs.clip_probs, ours.clip_probs, atol=1e-6)
    assert np.allclose(Classifier(export(run, "safetensors", tmp_path / "w"))(tmp_path / "v.mp4", clips=2).clip_probs, ours.clip_probs, atol=1e-6)


def test_weights_of_others_run_no_code(run, tmp_path):
    for name in ("os:getcwd", None):
        model, _ = load_model(run)
        model.name, model.card = name, open_run(run).model.card
        save_weights(model, tmp_path / "w.safetensors")
        with pytest.raises(VidclsError, match="not run unasked" if name else "does not tell its model"): from_pretrained(tmp_path / "w.safetensors")


def test_torch_export(run, tmp_path):
    file, words = export(run, "torch-export", tmp_path / "net.pt2"), {"vidcls": ""}
    net = torch.export.load(file, extra_files=words).module()
    for n in (1, 2, 5): assert gap(run, net, n) <= 1e-5
    assert gap(run, lambda x: net(x.to(memory_format=torch.channels_last_3d))) <= 1e-5
    words = json.loads(words["vidcls"])
    assert words["classes"] == CLASSES and words["card"]["mean"] == [0.4, 0.5, 0.6] and "(batch, 3, 4, 32, 32)" in words["input"]


@needs_onnx
def test_onnx(run, tmp_path):
    import onnxruntime
    file = export(run, "onnx", tmp_path / "net.onnx")
    assert [*tmp_path.iterdir()] == [file]  # its weights are inside
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (given,), (gives,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape, gives.name, gives.shape) == ("clips", ["batch", 3, 4, 32, 32], "logits", ["batch", 3])
    for n in (1, 2, 5): assert gap(run, lambda x: torch.from_numpy(session.run(None, {"clips": x.numpy()})[0]), n) <= 1e-4
    assert json.loads(session.get_modelmeta().custom_metadata_map["vidcls"])["classes"] == CLASSES


def test_onnx_without_its_packages(run, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else found(name))
    with pytest.raises(VidclsError, match=r"needs onnx, onnxscript, onnxruntime, which are not installed; pip install vidcls\[export\]"): export(run, "onnx", tmp_path / "n.onnx")


class Winding(nn.Module):
    "A network whose way depends on the clip: no graph."
    def __init__(self, num_classes):
        super().__init__()
        self.fc = nn.Linear(3, num_classes)

    def forward(self, x): return self.fc(x.mean((2, 3, 4)) if x.mean() > 0 else x.amax((2, 3, 4)))


def test_a_function_of_ones_own(tmp_path):
    run = make_run(tmp_path / "run", f"{__name__}:Winding")
    with pytest.raises(VidclsError, match="PyTorch can't make a graph of"): export(run, "torch-export")
    with pytest.raises(VidclsError, match="torchvision has no network like"): export(run, "torchvision")
    folder = export(run, "hub")
    assert gap(run, create_model(f"{__name__}:Winding", weights=folder / "model.safetensors").eval()) == 0
    assert "create_model(" in (folder / "README.md").read_text() and folder.name == f"{__name__}-Winding-hub"


@pytest.mark.parametrize("wrong", [lambda x: x * 1.001, lambda x: x * float("nan"), lambda x: x[:, :2]])
def test_other_logits_are_an_error(wrong, run, tmp_path, monkeypatch):
    suffix, write, limit = FORMATS["safetensors"]

    def spoilt(trained, path):
        read_back, how = write(trained, path)
        return (lambda x: wrong(read_back(x))), how

    monkeypatch.setitem(FORMATS, "safetensors", (suffix, spoilt, limit))
    with pytest.raises(VidclsError, match="nothing was written"): export(run, "safetensors", tmp_path / "w")
    assert not [*tmp_path.iterdir()]


def test_a_batch_size_that_got_built_in_is_noticed(run):
    net = open_run(run).model
    with pytest.raises(VidclsError, match="nothing was written"): module._compare(open_run(run), lambda x: net(x) + net(x).sum(0) * (len(x) == 1), "it", 1e-5)


def test_names_of_wrappers_are_an_error(tmp_path):
    run = make_run(tmp_path / "run")
    kept = run.load("best")
    run.save("best", Checkpoint({f"_orig_mod.{k}": v for k, v in kept.model.items()}, {}, kept.state))
    with pytest.raises(VidclsError, match="does not fit the model"): export(run, "safetensors")


def test_what_is_there_stays(run, tmp_path):
    file, folder = tmp_path / "w.safetensors", tmp_path / "hub"
    file.write_text("mine")
    folder.mkdir()
    export(run, "hub", folder)  # it was empty
    (folder / "README.md").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    for kind, place in ("safetensors", file), ("hub", folder):
        with pytest.raises(VidclsError, match="is there already"): export(run, kind, place)
    assert file.read_text() == (folder / "README.md").read_text() == "mine"
    for kind, place in ("safetensors", file), ("hub", folder): export(run, kind, place, overwrite=True)
    assert read_file(file)[1]["vidcls"] and (folder / "README.md").read_text().startswith("---\n") and (folder / "notes.txt").read_text() == "mine"
    (tmp_path / ".part-x.pt2").mkdir()  # left by an export that was killed
    export(run, "safetensors", tmp_path / "x.pt2")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["hub", "w.safetensors", "x.pt2"]


BAD = {
    "no run": (lambda run, tmp: export(tmp / "none", "hub"), "is not a run folder"),
    "no checkpoint": (lambda run, tmp: export(Run(tmp / "new").create(run.config), "hub"), "has no checkpoint"),
    "unknown format": (lambda run, tmp: export(run, "tflite"), "there is no format 'tflite'; take torchvision, safetensors, hub, torch-export, onnx"),
    "unknown checkpoint": (lambda run, tmp: export(run, "hub", checkpoint="first"), "take best or last"),
    "a folder for a file": (lambda run, tmp: export(run, "onnx", tmp, overwrite=True), "is a folder, and a file is to be written"),
    "a file for a folder": (lambda run, tmp: export(run, "hub", run.folder / "config.json", overwrite=True), "is a file, and a folder is to be written"),
    "the run itself": (lambda run, tmp: export(run, "hub", run.folder, overwrite=True), "is a run folder, and stays one"),
    "no place": (lambda run, tmp: export(run, "safetensors", run.folder / "config.json" / "w"), "can't write"),
    "full disk": (lambda run, tmp: export(run, "hub", "/proc/hub"), "can't write /proc/hub"),
    "no name": (lambda run, tmp: push_to_hub(run, "no-owner"), "'no-owner' is no name for a repository"),
    "nothing of that name": (lambda run, tmp: from_pretrained("nowhere"), "neither a folder or file that is here, nor owner/name"),
    "damaged evaluation": (lambda run, tmp: export(damaged(tmp / "d"), "hub"), "is damaged"),
}


def damaged(folder):
    run = make_run(folder)
    (run.folder / "metrics.json").write_text("{")
    return run


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case, run, tmp_path):
    call, message = BAD[case]
    with pytest.raises(VidclsError) as e: call(run, tmp_path)
    assert message in str(e.value) and "\n" not in str(e.value)
    assert not [*tmp_path.glob("**/.part-*")]


class Hub(ThreadingHTTPServer):
    "As much of the Hugging Face Hub as an upload and a download of small files need."
    def __init__(self, refuse=None):
        self.repos, self.refuse, self.private, self.tokens = {}, refuse, None, set()
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answer(BaseHTTPRequestHandler):
    def log_message(self, *args): pass

    def reply(self, body=b"", status=200, **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for k, v in ({"Content-Length": len(body)} | {k.replace("_", "-"): v for k, v in headers.items()}).items(): self.send_header(k, str(v))
        self.end_headers()
        if self.command != "HEAD": self.wfile.write(body)

    def do_POST(self):
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        hub, path = self.server, self.path.partition("?")[0]
        hub.tokens.add(self.headers.get("Authorization"))
        if hub.refuse: self.reply(dict(error="no"), hub.refuse)
        elif path == "/api/repos/create":
            asked = json.loads(text)
            hub.private, repo = asked.get("private", asked.get("visibility")), f"{asked['organization']}/{asked['name']}"
            hub.repos.setdefault(repo, {".gitattributes": b""})
            self.reply(dict(url=f"{hub.url}/{repo}", name=repo, id="1"))
        elif path == "/api/validate-yaml": self.reply(dict(errors=[], warnings=[]))
        elif "/preupload/" in path: self.reply(dict(files=[dict(path=f["path"], uploadMode="regular", shouldIgnore=False, oid=None) for f in json.loads(text)["files"]]))
        elif "/commit/" in path:
            lines = [json.loads(line) for line in text.splitlines()]
            hub.repos[path.removeprefix("/api/models/").partition("/commit/")[0]] |= {x["value"]["path"]: base64.b64decode(x["value"]["content"]) for x in lines if x["key"] == "file"}
            self.reply(dict(commitUrl=f"{hub.url}/x/y/commit/{'0' * 40}", commitOid="0" * 40, pullRequestUrl=None))
        else: self.reply(dict(error=path), 404)

    def do_GET(self):
        path = self.path.partition("?")[0]
        for repo, files in self.server.repos.items():
            if path.startswith(f"/api/models/{repo}/tree/"):
                return self.reply([dict(type="file", path=f, size=len(data), oid=hashlib.sha1(data).hexdigest()) for f, data in files.items()])
            if path in (f"/api/models/{repo}", f"/api/models/{repo}/revision/main"):
                return self.reply(dict(id=repo, modelId=repo, sha="0" * 40, private=False, tags=[], downloads=0, likes=0, siblings=[dict(rfilename=f) for f in files]))
            if path.startswith(f"/{repo}/resolve/") and (name := path.split("/", 5)[5]) in files:
                return self.reply(files[name], ETag=f'"{hashlib.sha1(files[name]).hexdigest()}"', X_Repo_Commit="0" * 40)
        self.reply(dict(error="not found"), 404, X_Error_Code="RepoNotFound")

    do_HEAD = do_GET


@pytest.fixture
def hub():
    server = Hub()
    yield server
    server.shutdown()


def elsewhere(code: str, url: str, home) -> str:
    "What a fresh process, for which that server is the Hub, prints last."
    env = os.environ | dict(HF_ENDPOINT=url, HF_HOME=str(home), HF_TOKEN="hf_secret", HF_HUB_DISABLE_XET="1", NO_PROXY="127.0.0.1", PYTHONPATH=os.pathsep.join(sys.path))
    for name in ("HF_HUB_OFFLINE", "HF_HUB_CACHE"): env.pop(name, None)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_through_the_hub_and_back(run, hub, tmp_path):
    said = elsewhere(f"from vidcls.export import push_to_hub; push_to_hub({str(run.folder)!r}, 'me/my-model', private=True)", hub.url, tmp_path / "here")
    assert said == f"published: {hub.url}/me/my-model" and hub.private in (True, "private") and hub.tokens == {"Bearer hf_secret"}
    assert sorted(hub.repos["me/my-model"]) == [".gitattributes", "README.md", "config.json", "curves.png", "model.safetensors"]
    folder = export(run, "hub", tmp_path / "hub", repo_id="me/my-model")
    for name in ("README.md", "config.json", "curves.png"): assert hub.repos["me/my-model"][name] == (folder / name).read_bytes()
    torch.save(clips(run), tmp_path / "x.pt")
    code = f"""
import json, torch
from vidcls.export import from_pretrained
from vidcls.weights import WeightsError
net = from_pretrained("me/my-model")
try: from_pretrained("me/none")
except WeightsError as e: gone = str(e)
print(json.dumps([net.model(torch.load({str(tmp_path / "x.pt")!r})).tolist(), net.classes, net.settings["short"], gone]))"""
    logits, classes, short, gone = json.loads(elsewhere(code, hub.url, tmp_path / "there"))
    assert (classes, short) == (CLASSES, "loop") and gap(run, lambda x: torch.tensor(logits)) <= 1e-5
    assert gone.startswith("can't fetch me/none from the Hugging Face Hub") and "\n" not in gone


@pytest.mark.parametrize("status, message", [(401, "does not know who you are; run hf auth login"), (403, "you may not write to me/my-model"), (500, "can't publish me/my-model"), (None, "where there is a network")])
def test_what_the_hub_refuses_is_one_sentence(status, message, run, monkeypatch):
    import functools
    import huggingface_hub
    server = Hub(refuse=status)
    if status is None: server.shutdown(), server.server_close()  # nobody answers
    monkeypatch.setattr(huggingface_hub, "HfApi", functools.partial(huggingface_hub.HfApi, endpoint=server.url))
    with pytest.raises(VidclsError) as e: push_to_hub(run, "me/my-model", token="hf_secret")
    assert message in str(e.value) and "\n" not in str(e.value) and "hf_secret" not in str(e.value)
    server.shutdown()
