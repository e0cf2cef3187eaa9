"The forecast: the bottleneck is named rightly, and the arithmetic is that which is told."
import threading
import time
from queue import Queue

import pytest

from vidcls.clips import VidclsError
from vidcls.forecast import FORWARD, Measured, endless, forecast, measure


def loader(seconds: float, clips: int = 4, ahead: int = 2):
    "Batches made by a thread, one in so many seconds, some of them ahead."
    ready = Queue(ahead)
    def make():
        while True:
            time.sleep(seconds)
            ready.put(range(clips))
    threading.Thread(target=make, daemon=True).start()
    while True: yield ready.get()


@pytest.mark.parametrize("load, step, bottleneck", [(0.06, 0.01, "loader"), (0.01, 0.06, "step")])
def test_bottleneck_is_named(load, step, bottleneck):
    m = measure(loader(load), lambda batch: time.sleep(step), seconds=2, ahead=3)
    assert m.bottleneck == bottleneck and m.gpu_memory is None and m.memory > 0.05
    assert m.loader <= 4 / load and m.step <= 4 / step and m.together <= 1.1 * min(m.loader, m.step)  # a sleep is never shorter
    assert m.waited > 0.4 if bottleneck == "loader" else m.waited < 0.4
    f = forecast(m, clips_per_epoch=100, epochs=1)
    assert f"The {bottleneck} is the bottleneck" in f.advice() and ("vidcls prepare" in f.advice()) == (bottleneck == "loader" or m.overlap <= 0.9)
    assert all(row.bottleneck == bottleneck for row in f.rows[:2])


def test_a_batch_is_measured_again_and_again_for_the_step():
    seen = []
    batches = iter(range(10, 10_000))
    def numbers():
        for k in batches: time.sleep(0.002); yield [k]
    measure(numbers(), lambda batch: (seen.append(batch[0]), time.sleep(0.002)), seconds=0.2, ahead=2, warm=1)
    alone = [k for k in seen if k == 10]
    assert len(alone) > 3 and sorted(set(seen)) == sorted({10, *seen[len(alone):]}) and len(set(seen[len(alone):])) == len(seen) - len(alone)  # then each batch once


def test_arithmetic():
    m = Measured(loader=100, step=200, together=90, waited=0.5, memory=1, workers=4, cores=4)
    f = forecast(m, clips_per_epoch=3600, eval_clips=720, epochs=10, processes=(1, 2, 8), efficiency=0.5)
    assert m.overlap == 0.9 and f.workers_needed == 8
    one, two, eight = f.rows
    assert (one.loader, one.step, one.rate, one.bottleneck) == (100, 200, 90, "loader")
    assert one.epoch == pytest.approx((3600 / 90 + 720 / 90) / 3600) and one.total == pytest.approx(10 * one.epoch)
    assert (two.loader, two.step, two.rate) == pytest.approx((200, 200, 180))
    assert (eight.loader, eight.step, eight.bottleneck) == pytest.approx((800, 200, "step")) and eight.rate == pytest.approx(180)
    assert eight.epoch == pytest.approx((3600 / 180 + 720 / (0.9 * min(800, FORWARD * 200))) / 3600)
    wide = forecast(m, clips_per_epoch=3600, epochs=1, processes=(1,), cores=16)
    assert (wide.rows[0].loader, wide.rows[0].bottleneck) == (400, "step")
    assert "8 workers" in f.advice() and "x 0.5 for each doubling: assumed" in repr(f) and len(f.lines()) == 8
    assert "prepared already" in forecast(m, clips_per_epoch=1, epochs=1, prepared=True).advice()


def test_mistakes():
    m = Measured(1, 1, 1, 0, 1)
    with pytest.raises(VidclsError, match="efficiency of 0 "): forecast(m, clips_per_epoch=1, epochs=1, efficiency=0)
    with pytest.raises(VidclsError, match="at least 1"): forecast(m, clips_per_epoch=1, epochs=1, processes=())
    with pytest.raises(VidclsError, match="came to an end"): measure(iter([[1]] * 5), len, seconds=1)
    empty = type("Loader", (), dict(plan=type("Plan", (), dict(epoch=0)), __iter__=lambda self: iter(())))()
    with pytest.raises(VidclsError, match="no batch"): next(endless(empty))
