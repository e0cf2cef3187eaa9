"torch.compile: the compiled network is the same network."
import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from vidcls.bench import missing_compiler
from vidcls.resnet import VideoResNet


@pytest.mark.skipif(bool(missing_compiler()), reason=str(missing_compiler()))
def test_compiled_is_as_eager():
    torch.manual_seed(0)
    eager = VideoResNet(("2+1d", "2+1d"), (1,), (8,), num_classes=5, stem_size=3).to(memory_format=torch.channels_last_3d)
    compiled = copy.deepcopy(eager)
    run = torch.compile(compiled, fullgraph=True)  # one graph, or an error: nothing falls back to eager
    clips, targets = torch.randn(2, 3, 4, 16, 16).to(memory_format=torch.channels_last_3d), torch.tensor([1, 4])
    a, b = eager(clips), run(clips)
    cross_entropy(a, targets).backward(), cross_entropy(b, targets).backward()
    torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5)
    assert type(b.grad_fn).__name__ == "CompiledFunctionBackward"
    for (name, p), q in zip(eager.named_parameters(), compiled.parameters()): torch.testing.assert_close(q.grad, p.grad, rtol=1e-3, atol=1e-5, msg=lambda m: f"{name}: {m}")
    for (name, p), q in zip(eager.named_buffers(), compiled.buffers()): torch.testing.assert_close(q, p, msg=lambda m: f"{name}: {m}")
