"Figures, players and the report: right for odd input, safe in a training process, harmless to what surrounds them."
import json
import os
import re
import subprocess
import sys
import threading
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from conftest import real
from vidcls import plots
from vidcls.clips import VidclsError
from vidcls.plots import (Plot, Player, confused_pairs, plot_confusion, plot_metrics, play, read_metrics, show_batch, show_clip, show_predictions, to_frames,
                          write_report)
from vidcls.video import Video, probe

NASTY = ['two words', 'a "quote"', "an 'apostrophe'", "<b>bold</b>", "</script><img src=x>", "naïve ☂ 波 🎬", "$100 in _cash_ ^{", "50% & more\\", "x" * 300, "a\nb\x00\udc80", "", "{0}"]


def clips(n=3, t=5, h=24, w=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, t, h, w, 3), np.uint8)


def chances(n, classes, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(classes), n)


def texts(fig):
    return [t.get_text() for t in fig.findobj(matplotlib.text.Text) if t.get_text()]


def png(fig):
    data = fig.bytes("png", 60)
    assert data.startswith(b"\x89PNG")
    return data


class Tags(HTMLParser):
    "All tags, their attributes, and the text between."
    def __init__(self, html):
        super().__init__()
        self.tags, self.attrs, self.text = [], [], []
        self.feed(html)
    def handle_starttag(self, tag, attrs): self.tags.append(tag); self.attrs += attrs
    def handle_data(self, data): self.text.append(data)


# ---- frames ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("batch", [False, True])
def test_normalised_tensors_become_the_frames_they_were(dtype, batch):
    frames, mean, std = torch.tensor(clips(2)), torch.tensor([.43, .39, .38]), torch.tensor([.23, .22, .21])
    x = ((frames / 255 - mean) / std).permute(0, 4, 1, 2, 3).contiguous(memory_format=torch.channels_last_3d).to(dtype).requires_grad_()
    x, frames = (x, frames) if batch else (x[1], frames[1])
    got = to_frames(x, mean.view(3, 1, 1, 1), std.tolist())
    assert got.dtype == np.uint8 and got.shape == tuple(frames.shape)
    assert np.abs(got.astype(int) - frames.numpy()).max() <= (0 if dtype == torch.float32 else 2)


def test_frames_with_a_side_of_three_pixels_keep_their_layout():
    assert np.array_equal(to_frames(clips(h=3, w=3)), clips(h=3, w=3))
    assert np.array_equal(to_frames(clips(t=3, h=3)), clips(t=3, h=3))
    x = np.moveaxis(clips(w=3), -1, 1)
    assert np.array_equal(to_frames(x / 255.), clips(w=3))


def test_values_beyond_what_a_picture_holds():
    x = np.moveaxis(clips(1)[0], -1, 0) / 255
    assert to_frames(x * 1.08 - 0.04).max() == 255  # as resizing leaves it
    with pytest.raises(VidclsError, match="give the mean and std"): to_frames(x * 4)
    assert to_frames(x * 4, mean=0.).max() == 255


@pytest.mark.parametrize("x", [np.zeros((8, 8, 3), np.uint8), np.zeros((2, 8, 8, 4), np.uint8), np.zeros((2, 8, 8, 3), np.int64), np.zeros((2, 8, 8, 3), bool), "clip"])
def test_what_is_no_clip_is_refused(x):
    with pytest.raises(VidclsError, match="is no clip"): to_frames(x)


# ---- players ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("shape, size, out", [((1, 24, 32), None, (24, 32)), ((5, 23, 31), None, (24, 32)), ((2, 1, 1), None, (2, 2)), ((2, 480, 640), None, (240, 320)),
                                             ((2, 481, 643), 120, (120, 160)), ((2, 240, 320), None, (240, 320))])
def test_films_are_what_browsers_play(tmp_path, shape, size, out):
    info = probe(play(clips(1, *shape)[0], 12.5, size=size).save(tmp_path / "a.mp4"))
    assert (info.codec, info.num_frames, info.height, info.width) == ("h264", shape[0], *out)
    assert info.num_frames == 1 or info.fps == 12.5


def test_a_shrunk_film_shows_the_mean_of_its_pixels(tmp_path):
    clip = np.zeros((2, 512, 512, 3), np.uint8)
    clip[:, :, ::2] = 200
    film = Video(play(clip, size=128).save(tmp_path / "a.mp4"))
    assert film.shape == (128, 128, 3) and np.abs(film[0].astype(int) - 100).max() <= 3


def test_a_player_of_several_clips(tmp_path):
    player = play([clips(1)[0], torch.tensor(clips(1, 3, 40, 20)[0]), np.moveaxis(clips(1)[0] / 255, -1, 0)], captions=["a", "b", "c"])
    page = Tags(player.save(tmp_path / "p.html").read_text("utf-8"))
    assert len(player.films) == 3 and page.tags.count("video") == 3 and player._repr_html_() == player.html
    assert all(("muted", None) in page.attrs and ("playsinline", None) in page.attrs for _ in range(3))
    assert [v for k, v in page.attrs if k == "width"] == ["171", "64", "171"]
    with pytest.raises(VidclsError, match="in .html"): player.save(tmp_path / "p.mp4")
    with pytest.raises(VidclsError, match="in .html"): player.save(tmp_path / "p.gif")
    with pytest.raises(VidclsError, match="can't write"): player.save(tmp_path / "nowhere" / "p.html")
    assert [p.name for p in tmp_path.iterdir()] == ["p.html"]


def test_controls_and_loop():
    clip = clips(1)[0]
    assert " loop " in play(clip).html and "controls" not in play(clip).html
    assert " loop " not in play(clip, loop=False).html and "controls" in play(clip, controls=True).html


def test_a_small_clip_costs_little():
    clip = np.full((16, 64, 64, 3), 60, np.uint8)
    for k in range(16): clip[k, :, 3 * k:3 * k + 8] = 220
    assert len(play(clip).html) < 8_000


def test_captions_are_text_and_nothing_else():
    page = Tags(play(clips(len(NASTY), 1, 8, 8), captions=NASTY, title=NASTY[3]).html)
    assert set(page.tags) == {"style", "p", "div", "video"}
    assert {k for k, _ in page.attrs} == {"style", "class", "title", "autoplay", "loop", "muted", "playsinline", "onclick", "width", "height", "src"}
    shown = "".join(page.text)
    for name in NASTY[:8]: assert name in shown
    assert "a b\ufffd\ufffd" in shown


# ---- figures ---------------------------------------------------------------------------------------------------------

def test_filmstrips():
    clip = clips(1, t=20)[0]
    assert texts(show_clip(clip, max_frames=4, frame_rate=10, start=1)) == ["1.00 s", "1.60 s", "2.30 s", "2.90 s"]
    for n in (1, 2, 20, 99): png(show_clip(clip, max_frames=n))
    for h, w in ((1, 1), (200, 20), (20, 200)): png(show_clip(clips(1, 6, h, w)[0], title="$", frame_rate=15))


def test_batches():
    for n in (1, 2, 3, 9): assert len(texts(show_batch(clips(n), range(n), [f"c{i}" for i in range(n)]))) == min(n, 8)
    assert texts(show_batch(clips(2), torch.tensor([1, 0]), ["a", "b"])) == ["b", "a"]
    assert texts(show_batch(clips(2), [np.array([.25, .75, 0]), np.array([0, 0, 1.])], ["a", "b", "c"])) == ["75% b + 25% a", "c"]
    assert texts(show_batch(clips(2), ["x", None])) == ["x"]
    png(show_batch([clips(1, 4)[0], clips(1, 9, 50, 20)[0]]))
    with pytest.raises(VidclsError, match="label 2 has no name among 2 classes"): show_batch(clips(1), [2], ["a", "b"])
    with pytest.raises(VidclsError, match="3 labels for 2 clips"): show_batch(clips(2), [0, 0, 0])


@pytest.mark.parametrize("how", [list, np.asarray, torch.tensor])
def test_predictions_name_the_truth(how):
    probs, classes = np.array([[.7, .2, .1, 0], [.7, .1, .1, .1], [.7, .2, .1, 0]]), ["a", "b", "c", "d"]
    kinds = re.findall(r'vidcls-bar (\w+)"', show_predictions(clips(3), how(probs.tolist()), how([0, 3, 1]), classes).html)
    assert kinds == "right other other wrong other other right wrong right other".split()
    fig = texts(show_predictions(clips(3), how(probs.tolist()), how([0, 3, 1]), classes, play=False))
    assert [t for t in fig if t[0] in "✓✗"] == ["✓ a", "✗ a", "✓ d", "✗ a", "✓ b"]


def test_predictions_without_labels_or_classes():
    assert re.findall(r'vidcls-bar (\w+)"', show_predictions(clips(1), chances(1, 2)).html) == ["guess", "other"]
    assert re.findall(r'vidcls-bar (\w+)"', show_predictions(clips(2), chances(2, 9), [None, 4], top=1).html)[:1] == ["guess"]


@pytest.mark.parametrize("probs, message", [(np.ones((3, 4)), "softmax"), (np.full((3, 4), np.nan), "softmax"), (chances(3, 5), "do not fit 4 classes"),
                                            (chances(2, 4), "2 rows of probabilities for 3 clips"), (np.ones((3, 4, 1)), "do not fit")])
def test_what_are_no_probabilities_is_refused(probs, message):
    with pytest.raises(VidclsError, match=message): show_predictions(clips(3), probs, classes=list("abcd"))


def test_a_label_without_a_class_is_refused():
    with pytest.raises(VidclsError, match="label 4 has no name"): show_predictions(clips(1), chances(1, 4), [4])
    with pytest.raises(VidclsError, match="label -1 has no name"): show_predictions(clips(1), chances(1, 4), [-1], play=False)


# ---- curves ----------------------------------------------------------------------------------------------------------

RECORD = dict(epoch=3, step=400, loss=2.1, train_top1=.3, lr=.1, clips_per_s=512., data_wait=.03, val_loss=2.2, clip_top1=.25, clip_top5=.5, video_top1=.31, video_top5=.62,
              seconds=42.)


@pytest.mark.parametrize("key", [k for k in RECORD if k not in ("epoch", "step", "seconds")])
def test_every_key_alone_makes_a_panel(key):
    fig = plot_metrics([{key: RECORD[key]}])
    assert len(fig.axes) == 1 and len(fig.axes[0].lines) == 1
    assert fig.axes[0].lines[0].get_ydata().tolist() == [RECORD[key]]
    png(fig)


@pytest.mark.parametrize("key", RECORD)
def test_every_key_may_be_absent(key):
    records = [{k: v for k, v in {**RECORD, "epoch": e, "step": 100 * e}.items() if k != key} for e in range(3)]
    fig = plot_metrics(records)
    assert len(fig.axes) == 5 - (key in ("lr", "clips_per_s", "data_wait"))
    assert fig.axes[0].lines[0].get_xdata().tolist() == ([0, 100, 200] if key == "epoch" else [0, 1, 2])
    png(fig)


def test_the_last_values_stand_beside_their_lines():
    fig = plot_metrics([RECORD, {**RECORD, "epoch": 4, "video_top1": .29, "clips_per_s": 600, "seconds": 7200.}])
    for text in ("train 2.1", "video top-1 29.0%", "best video top-1 31.0%, epoch 3", "video top-5 62.0%", "600", "3.0%", "2.0 h in all"): assert text in texts(fig)


@pytest.mark.parametrize("n", [1, 2, 3, 90])
def test_epochs_are_whole(n):
    ax = plot_metrics([{"epoch": e, "loss": 1 / (e + 1)} for e in range(n)]).axes[0]
    ticks = [t for t in ax.get_xticks() if ax.get_xlim()[0] <= t <= ax.get_xlim()[1]]
    assert 1 <= len(ticks) <= 8 and all(t == int(t) for t in ticks)


def test_numbers_of_other_kinds_and_missing_ones():
    fig = plot_metrics([{"epoch": np.int64(0), "loss": np.float32(2), "val_loss": None, "lr": "?"}, {"epoch": np.int64(1), "loss": np.float32(1), "val_loss": 3}])
    assert len(fig.axes) == 1 and [len(line.get_xdata()) for line in fig.axes[0].lines] == [2, 1]


def test_a_loss_that_is_lost_is_said():
    fig = plot_metrics([{"epoch": e, "loss": 1. if e < 2 else float("nan"), "clip_top1": .5 if e != 1 else float("nan")} for e in range(4)])
    assert "not finite since epoch 2" in texts(fig) and "train nan" in texts(fig) and "best clip top-1 50.0%, epoch 0" in texts(fig)
    png(plot_metrics([{"loss": float("nan")}]))
    png(plot_metrics([{"loss": float("inf"), "lr": 0., "clips_per_s": 0.}]))


@pytest.mark.parametrize("records", [[], [{}], [{"epoch": 0}], [{"epoch": 0, "loss": None}]])
def test_nothing_to_plot(records):
    with pytest.raises(VidclsError, match="nothing to plot"): plot_metrics(records)


def test_learning_rates_over_decades_are_drawn_by_decades():
    lr = lambda *rates: [ax for ax in plot_metrics([{"lr": r} for r in rates]).axes][0]
    assert lr(.1, .01, .001).get_yscale() == "log" and lr(.1, .05).get_yscale() == "linear" and lr(0., .1).get_yscale() == "linear"
    assert lr(.1, .05).get_ylim()[0] == 0


def test_the_metrics_file_of_a_killed_run(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"epoch": 0, "loss": 3}\n{"epoch": 1, "loss": 9}\n\n{"epoch": 1, "loss": 2}\n{"epoch": 2, "lo')
    assert read_metrics(tmp_path) == read_metrics(str(file)) == [{"epoch": 0, "loss": 3}, {"epoch": 1, "loss": 2}]
    file.write_text('{"epoch": 0, "loss": 3}\n{"epoch": 1, "lo\n{"epoch": 2, "loss": 2}\n')
    with pytest.raises(VidclsError, match="line 2 is not a record"): read_metrics(tmp_path)
    with pytest.raises(VidclsError, match="can't read .*metrics.jsonl"): read_metrics(tmp_path.parent)


def test_labels_keep_their_distance():
    rng = np.random.default_rng(0)
    for _ in range(200):
        at, gap = rng.random(rng.integers(1, 7)), rng.uniform(.02, .15)
        got = plots._spread(at, gap)
        assert (np.diff(np.sort(got)) > gap - 1e-9).all() and got.max() <= 1 + 1e-9
        assert (np.argsort(got) == np.argsort(at)).all()
        if (np.diff(np.sort(at)) > gap).all(): assert np.allclose(got, at)
        crowd = plots._spread(at * gap - 9, gap)  # all in one place, far from the limit: they move apart around their middle
        assert np.isclose(crowd.mean(), (at * gap - 9).mean()) and np.allclose(np.diff(np.sort(crowd)), gap)


# ---- confusion -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("n", [1, 2, 12, 13, 40, 41, 101, 400])
def test_confusions_of_any_size(n):
    m = np.random.default_rng(n).integers(0, 9, (n, n)) + 30 * np.eye(n, dtype=int)
    fig = plot_confusion(m, [f"class {i}" for i in range(n)])
    shown = texts(fig)
    assert max(fig.get_size_inches()) < 11
    assert ("Confused most" in shown) == (n > 12) and (shown.count("class 0") >= 2) == (n <= 40)
    assert sum(t.endswith("%") and " " not in t for t in shown) == (np.count_nonzero(m) if n <= 12 else 10)
    png(fig)


def test_numbers_in_the_cells():
    m = torch.tensor([[3, 1, 0], [0, 0, 0], [0, 0, 2]])
    assert [t for t in texts(plot_confusion(m, "abc")) if t[0].isdigit()] == ["75%", "25%", "100%", "83.3% of 6 right"]
    assert [t for t in texts(plot_confusion(m, "abc", normalise=False)) if t[0].isdigit()] == ["3", "1", "2", "83.3% of 6 right"]
    assert confused_pairs(m, "abc") == [("a", "b", .25, 1.)]


def test_rows_are_the_truth():
    image = plot_confusion([[4, 0], [4, 0]], ["a", "b"]).axes[0].images[0].get_array()
    assert image[1, 0, 3] == 1 and image[0, 1, 3] == image[1, 1, 3] == 0
    assert image[1, 0, 0] > image[1, 0, 2] and image[0, 0, 2] > image[0, 0, 0]  # mistakes are red, what is right is blue


def test_a_mistake_among_many_classes_is_to_be_seen():
    from io import BytesIO
    from PIL import Image
    m = 20 * np.eye(400)
    m[300, 50] = 20
    fig = plot_confusion(m, range(400))
    for line in fig.axes[0].lines: line.set_visible(False)  # its circle
    image = np.array(Image.open(BytesIO(fig.bytes("png", 72))).convert("RGB"), int)
    assert ((image[..., 0] - image[..., 2]) > 60).sum() >= 3  # pixels that are red


@pytest.mark.parametrize("m", [np.ones((2, 3)), np.ones(3), np.ones((2, 2)), np.zeros((3, 3)), -np.ones((3, 3)), np.full((3, 3), np.nan)])
def test_what_is_no_confusion_is_refused(m):
    with pytest.raises(VidclsError, match="confusion matrix"): plot_confusion(m, "abc")


@pytest.mark.filterwarnings("error")
def test_class_names_are_drawn_as_they_stand():
    n = len(NASTY)
    fig = plot_confusion(np.eye(n) + 1, NASTY)
    assert "$100 in _cash_ ^{" in texts(fig)
    png(fig)
    png(plot_confusion(np.eye(5 * n) + 1, NASTY * 5))
    png(show_predictions(clips(n), chances(n, n), range(n), NASTY, NASTY, play=False, max_clips=n))
    png(show_batch(clips(n), range(n), NASTY, max_clips=n))
    png(show_clip(clips(1)[0], title=NASTY[6]))


# ---- the surroundings ------------------------------------------------------------------------------------------------

def test_figures_show_themselves_once_in_a_notebook():
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.core.pylabtools import select_figure_formats
    import matplotlib.pyplot as plt
    before = plt.get_fignums()  # other tests of this process may have left some
    fig, player = plot_confusion([[1]], ["a"]), play(clips(1)[0])
    shell = InteractiveShell()
    assert "image/png" in shell.display_formatter.format(fig)[0]  # without %matplotlib inline
    select_figure_formats(shell, {"png"})
    assert set(shell.display_formatter.format(fig)[0]) == {"image/png", "text/plain"}
    assert shell.display_formatter.format(player)[0]["text/html"] == player.html
    assert isinstance(fig, Figure) and plt.get_fignums() == before  # pyplot would show it a second time


def test_a_figure_drawn_into_ones_own_axes():
    import matplotlib.pyplot as plt
    fig, ax = plt.subplots()
    try: assert show_clip(clips(1)[0], ax=ax, title="mine") is None and len(ax.images) == 1
    finally: plt.close(fig)


def test_pngs_are_small_and_keep_their_colours():
    from io import BytesIO
    from PIL import Image
    small = png(plot_metrics([RECORD, {**RECORD, "epoch": 4}]))
    assert len(small) < 20_000 and Image.open(BytesIO(small)).mode == "P"
    noise = show_clip(clips(1, 4, 128, 128)[0])
    assert Image.open(BytesIO(png(noise))).mode == "RGB"
    assert Image.open(BytesIO(noise.bytes("png", 60, transparent=True))).mode == "RGBA"
    out = BytesIO()
    noise.savefig(out, dpi=100, metadata={"Title": "noise"})
    image = Image.open(out)
    assert image.text == {"Title": "noise"} and image.size == tuple(np.ceil(noise.get_size_inches() * 100 - .999).astype(int))


def test_the_users_style_changes_nothing_and_is_not_changed():
    import matplotlib.pyplot as plt
    before, plain = dict(matplotlib.rcParams), [png(plot_metrics([RECORD])), png(plot_confusion(np.eye(3) + 1, "abc"))]
    with plt.style.context("dark_background"): assert plain == [png(plot_metrics([RECORD])), png(plot_confusion(np.eye(3) + 1, "abc"))]
    assert dict(matplotlib.rcParams) == before


# ---- the report ------------------------------------------------------------------------------------------------------

def sample(i, classes, **kw):
    return dict(clip=clips(1, 4, 16, 16, i)[0], frame_rate=15, probs=chances(1, classes, i)[0], label=i % classes, name=f"v{i}.mp4", **kw)


def report(folder, classes=NASTY, n=20, **kw):
    what = dict(records=[RECORD], confusion=np.eye(len(classes)) + 1, samples=[sample(i, len(classes)) for i in range(n)],
                summary=dict(video_top1=.5, protocol="5 clips", title="A run"))
    return write_report(folder, classes=classes, **{**what, **kw})


def test_a_report_is_complete_and_shows_text_as_text(tmp_path):
    names = [dict(sample(i, len(NASTY)), name=name) for i, name in enumerate(NASTY)]
    page = report(tmp_path / "run" / "report", samples=names, summary={"title": NASTY[4], "video_top1": .512, "protocol": NASTY[3], NASTY[4]: NASTY[1], "lr": 0.123456, "none": None})
    assert {p.name for p in page.parent.iterdir()} == {"index.html", "curves.png", "confusion.png"}
    html = page.read_text("utf-8")
    tags = Tags(html)
    assert tags.tags.count("script") == 1 and "img" not in tags.tags and "b" in tags.tags
    for text in ("51.2%", *NASTY[:5], "0.1235"): assert any(text in t for t in tags.text), text
    assert not any("none" == t for t in tags.text)
    links = [v for k, v in tags.attrs if k in ("src", "href", "xlink:href")]
    assert links and all(link.startswith(("data:", "#")) for link in links)
    assert "url(http" not in html and "@import" not in html and "prefers-color-scheme: dark" in html


def test_a_report_of_little(tmp_path):
    page = report(tmp_path, records=None, confusion=None, samples=(), summary=None)
    assert [p.name for p in tmp_path.iterdir()] == ["index.html"] and "<video" not in page.read_text() and "not stated" not in page.read_text()
    assert "protocol not stated" in report(tmp_path, summary={"clip_top1": .1}).read_text("utf-8")
    report(tmp_path, confusion=None)
    assert {p.name for p in tmp_path.iterdir()} == {"index.html", "curves.png"}  # none that is left of another run


def test_the_most_wrong_come_first(tmp_path):
    probs = {"surely wrong": [.05, .9, .05], "hardly wrong": [.4, .5, .1], "surely right": [.9, .1, 0], "hardly right": [.5, .4, .1], "unknown": [.2, .7, .1]}
    samples = [dict(clip=torch.tensor(clips(1, 2, 16, 16)[0]), frame_rate=15, probs=torch.tensor(p), label=None if name == "unknown" else torch.tensor(0), name=name)
               for name, p in reversed(probs.items())]
    shown = Tags(report(tmp_path, classes="abc", samples=samples).read_text("utf-8")).text
    assert [t for t in shown if t in probs] == ["surely wrong", "hardly wrong", "hardly right", "surely right", "unknown"]
    shown = Tags(report(tmp_path, classes="abc", samples=samples, max_clips=1).read_text("utf-8")).text
    assert [t for t in shown if t in probs] == ["surely wrong", "hardly right", "unknown"]


def test_the_same_run_gives_the_same_page(tmp_path):
    assert report(tmp_path / "a").read_bytes() == report(tmp_path / "b").read_bytes()


def test_a_report_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    old = report(tmp_path, n=2).read_bytes()
    for bad in (dict(records=[{}]), dict(confusion=np.ones((2, 2))), dict(samples=[dict(sample(0, 3))]), dict(samples=[{**sample(0, len(NASTY)), "label": 99}])):
        with pytest.raises(VidclsError): report(tmp_path, **bad)
    replace = os.replace
    def full(a, b):
        if str(b).startswith(str(tmp_path)): raise OSError(28, "No space left on device")
        replace(a, b)
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(VidclsError, match="can't write .*No space left"): report(tmp_path, n=3)
    assert (tmp_path / "index.html").read_bytes() == old and {p.name for p in tmp_path.iterdir()} == {"index.html", "curves.png", "confusion.png"}


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(VidclsError, match="can't make the folder"): report(tmp_path / "file" / "report", n=0)


def test_a_report_from_a_thread(tmp_path):
    failed = []
    def work():
        try: report(tmp_path, n=2)
        except BaseException as e: failed.append(e)
    thread = threading.Thread(target=work)
    thread.start(); thread.join()
    assert not failed and (tmp_path / "index.html").exists()


def test_no_display_no_pyplot_no_torch(tmp_path):
    code = f"""
import sys, numpy as np
from vidcls.plots import write_report, show_clip
write_report({str(tmp_path)!r}, records=[{json.dumps(RECORD)}], confusion=np.eye(2), classes=["a", "b"], samples=[dict(clip=np.zeros((2, 8, 8, 3), np.uint8), probs=np.ones(2) / 2, label=0)])
show_clip(np.zeros((2, 8, 8, 3), np.uint8)).savefig({str(tmp_path / 'clip.pdf')!r})
print(sorted({{"matplotlib.pyplot", "torch", "IPython"}} & set(sys.modules)))
"""
    got = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "MPLBACKEND": "TkAgg", "HOME": str(tmp_path)})
    assert (got.stdout.strip(), got.returncode) == ("[]", 0), got.stderr
    assert (tmp_path / "clip.pdf").read_bytes().startswith(b"%PDF")


def test_real_videos():
    clip = Video(next(iter(sorted(real("weizmann4").rglob("*.mp4")))), size=112).clip(0, 16, 15)
    assert len(play(clip).html) < 60_000 and isinstance(play(clip), Player) and isinstance(show_clip(clip), Plot)
