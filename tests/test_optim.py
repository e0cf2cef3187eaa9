"Schedules against PyTorch's schedulers at every iteration, optimisers and averages against their formulas."
import copy
import io
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as S

from vidcls.config import TrainConfig
from vidcls.models import create_model
from vidcls.optim import averaged, lr_factor, make_optimizer, optim_groups

LAYOUTS = (torch.channels_last_3d, torch.contiguous_format)


def schedulers(c, n):
    "Rates at each iteration, by what the reference builds (and PyTorch's own cosine)."
    opt = torch.optim.SGD([torch.zeros(1)], 1.0)
    w = n * c.lr_warmup_epochs
    if c.lr_schedule == "cosine": main = S.CosineAnnealingLR(opt, n * c.epochs - w, c.lr_min)
    else: main = S.MultiStepLR(opt, milestones=[n * (m - c.lr_warmup_epochs) for m in c.lr_milestones], gamma=c.lr_gamma)
    if w:
        warm = S.LinearLR(opt, start_factor=c.lr_warmup_decay, total_iters=w) if c.lr_warmup_method == "linear" else S.ConstantLR(opt, factor=c.lr_warmup_decay, total_iters=w)
        main = S.SequentialLR(opt, schedulers=[warm, main], milestones=[w])
    rates = []
    for _ in range(n * c.epochs):
        rates.append(opt.param_groups[0]["lr"])
        opt.step()
        main.step()
    return rates


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["linear", "constant"])
@pytest.mark.parametrize("warmup", [0, 1, 4, 12])
@pytest.mark.parametrize("n", [1, 3, 17])
def test_schedule_is_the_references(n, warmup, method):
    for milestones, (gamma, decay) in itertools.product(((), (0,), (4,), (12,), (1, 2, 3), (3, 4, 5), (6, 9, 12), (13,)), ((0.1, 0.001), (0.7, 0.3))):
        c = TrainConfig(epochs=14, lr_milestones=milestones, lr_gamma=gamma, lr_warmup_epochs=warmup, lr_warmup_method=method, lr_warmup_decay=decay)
        np.testing.assert_allclose([lr_factor(s // n + s % n / n, c) for s in range(14 * n)], schedulers(c, n), rtol=1e-9, err_msg=str(c))
    c = replace(c, lr_schedule="cosine", lr_min=0.01)
    np.testing.assert_allclose([lr_factor(s // n + s % n / n, c) for s in range(14 * n)], schedulers(c, n), rtol=1e-8)


def fresh(c, form=torch.channels_last_3d):
    torch.manual_seed(0)
    net = create_model("r2plus1d_tiny", num_classes=4).to(memory_format=form)
    return net, make_optimizer(net, c)


def push(net, opt, steps):
    "Steps with gradients that depend on the step alone."
    for s in steps:
        draw = torch.Generator().manual_seed(s)
        for p in net.parameters(): p.grad = torch.empty_like(p).copy_(torch.randn(p.shape, generator=draw))
        opt.step()
    return [p.detach().clone() for p in net.parameters()]


SETTINGS = [dict(optimizer=o, nesterov=o == "sgd", layer_decay=d, no_decay_norms=norms, lr=0.01, weight_decay=0.1) for o, d, norms in itertools.product(("sgd", "adamw"), (1., 0.5), (False, True))]
NAMES = [f"{s['optimizer']}-{s['layer_decay']}-{s['no_decay_norms']}" for s in SETTINGS]


@pytest.mark.parametrize("settings", SETTINGS, ids=NAMES)
def test_optimizer_is_pytorchs(settings):
    "Each parameter moves as by a plain optimiser of its own."
    c = TrainConfig(**settings)
    net, opt = fresh(c)
    other = copy.deepcopy(net)
    decays = {id(p): g["weight_decay"] for g in optim_groups(other, c) for p in g["params"]}
    plain = [torch.optim.SGD([p], 0.01, 0.9, weight_decay=decays[id(p)], nesterov=True) if c.optimizer == "sgd" else torch.optim.AdamW([p], 0.01, weight_decay=decays[id(p)], foreach=False)
             for p in other.parameters()]
    for p in other.parameters(): assert decays[id(p)] == (0 if c.no_decay_norms and p.ndim <= 1 else 0.1)
    got = push(net, opt, range(4))
    for s in range(4):
        draw = torch.Generator().manual_seed(s)
        for p, o in zip(other.parameters(), plain):
            p.grad = torch.randn(p.shape, generator=draw)
            o.step()
    for p, q in zip(got, other.parameters(), strict=True): torch.testing.assert_close(p, q.detach(), rtol=1e-4, atol=1e-5)
    assert all(g["fused"] for g in opt.param_groups) and opt.param_groups[-1]["lr_scale"] == 1


@pytest.mark.parametrize("settings", SETTINGS, ids=NAMES)
@pytest.mark.parametrize("form", LAYOUTS)
def test_resumed(settings, form):
    "To the same bits; and to the same numbers where the saved state has another memory format."
    c = TrainConfig(**settings)
    want = push(*fresh(c), range(5))
    net, opt = fresh(c)
    push(net, opt, range(2))
    torch.save(dict(net=net.state_dict(), opt=opt.state_dict()), file := io.BytesIO())
    file.seek(0)
    state = torch.load(file, weights_only=True)
    net, opt = fresh(c, form)
    net.load_state_dict(state["net"])
    opt.load_state_dict(state["opt"])
    assert all(v.stride() == p.stride() for p, kept in opt.state.items() for v in kept.values() if v.shape == p.shape)
    for a, b in zip(push(net, opt, range(2, 5)), want, strict=True):
        if form is torch.channels_last_3d: assert torch.equal(a, b)
        else: torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def lies(x):
    "How a tensor lies in memory; the strides of sides of length 1 say nothing."
    return [stride for stride, n in zip(x.stride(), x.shape) if n > 1]


def test_gradients_lie_as_parameters_do():
    "What fused steps on a CPU rely on."
    for form, clips in itertools.product(LAYOUTS, LAYOUTS):
        net, _ = fresh(TrainConfig(), form)
        for _ in range(2): net(torch.randn(2, 3, 4, 16, 16).to(memory_format=clips)).sum().backward()
        assert all(lies(p.grad) == lies(p) for p in net.parameters())
        net = net.to(memory_format=LAYOUTS[form is LAYOUTS[0]])
        net.zero_grad()
        net(torch.randn(2, 3, 4, 16, 16)).sum().backward()
        assert all(lies(p.grad) == lies(p) for p in net.parameters())


@pytest.mark.parametrize("form", LAYOUTS)
@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_average(decay, form):
    net, opt = fresh(TrainConfig(lr=0.01), form)
    ema, want = averaged(net, decay), None
    for s in range(12):
        push(net, opt, [s])
        with torch.no_grad(): net.train()(torch.randn(2, 3, 4, 16, 16))
        ema.update_parameters(net)
        now = {k: v.double().clone() for k, v in net.state_dict().items()}
        want = now if want is None else {k: decay * want[k] + (1 - decay) * v if net.state_dict()[k].is_floating_point() else v for k, v in now.items()}
        if s == 5: half = averaged(fresh(TrainConfig(), form)[0], decay); half.load_state_dict(copy.deepcopy(ema.state_dict()))
        if s > 5: half.update_parameters(net)
    for (k, v), mine in zip(ema.module.state_dict().items(), net.state_dict().values(), strict=True):
        torch.testing.assert_close(v.double(), want[k], rtol=1e-5, atol=1e-6)
        assert v.dtype == mine.dtype and v.stride() == mine.stride() and torch.equal(v, half.module.state_dict()[k]), k
    assert ema.module.stem[1].num_batches_tracked == 12 and half.n_averaged == ema.n_averaged == 12
    assert not any(p.requires_grad for p in ema.parameters()) and all(p.requires_grad for p in net.parameters())
