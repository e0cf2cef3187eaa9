"The promise of Moving Shapes: only a network that sees motion tells the members of a pair apart."
from dataclasses import replace

import numpy as np
import pytest

from vidcls.cli import DEMO
from vidcls.toy import write_moving_shapes
from vidcls.train import evaluate_run, fit

PAIRS = ("left", "right", "up", "down")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return write_moving_shapes(tmp_path_factory.mktemp("motion") / "shapes", num_train=40, num_val=25, classes=PAIRS, progress=False)


@pytest.mark.parametrize("model, least, most", [("r2plus1d_tiny", 0.9, 1.0), ("fr2d_tiny", 0.35, 0.65)])
def test_within_pairs(shapes, tmp_path, model, least, most):
    run = fit(replace(DEMO, model=model, data_path=str(shapes), output_dir=str(tmp_path / model), epochs=12, lr_milestones=(9, 11)))
    result = evaluate_run(run, quiet=True)
    twin = {"left": "right", "right": "left", "up": "down", "down": "up"}
    other = np.array([result.classes.index(twin[result.classes[t]]) for t in result.targets])
    rows = np.arange(len(result.targets))
    share = (result.probs[rows, result.targets] > result.probs[rows, other]).mean()
    assert least <= share <= most, f"{model} tells {share:.0%} of the videos from their mirror image"
