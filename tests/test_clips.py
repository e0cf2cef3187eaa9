"The clips that we choose are those of torchvision's VideoClips and samplers, over many rates and lengths."
from fractions import Fraction

import numpy as np
import pytest
import torch
from torchvision.datasets.samplers import UniformClipSampler
from torchvision.datasets.video_utils import VideoClips

from vidcls.clips import num_starts, num_ticks, tick_frames, uniform_starts

RATES = [10, 12, 15, 23.976023976, 24, 25, 29.97002997002997, 30, 50, 59.94005994005994, 60]


def exact(fps): return Fraction(fps).limit_denominator(1001)


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("frame_rate", [None, 5, 7.5, 8, 12.5, 15, 24, 25, 30])
def test_frames_of_every_clip_equal_torchvisions(fps, frame_rate):
    for n in (1, 7, 16, 31, 33, 75, 250, 301):
        for clip_len in (1, 4, 8, 16, 32):
            clips, theirs = VideoClips.compute_clips_for_video(torch.arange(n), clip_len, 1, fps, frame_rate)
            ticks = num_ticks(n, exact(fps), frame_rate)
            starts = num_starts(ticks, clip_len, "drop")
            if ticks == 1 and not len(clips): continue  # a video shorter than one step is never lost here
            assert starts == len(clips), (n, clip_len)
            ours = np.array([tick_frames(j + np.arange(clip_len), exact(fps), frame_rate, n) for j in range(starts)]).reshape(starts, clip_len)
            diff = ours - clips.numpy().reshape(ours.shape)
            # Theirs is float32: at an exact multiple, and only there, it can be one too low.
            step = exact(fps) / (exact(fps) if frame_rate is None else exact(frame_rate))
            exact_multiple = np.array([[((j + k) * step).denominator == 1 for k in range(clip_len)] for j in range(starts)], dtype=bool).reshape(starts, clip_len)
            assert ((diff == 0) | (diff == 1) & exact_multiple).all(), (n, clip_len)
            assert (diff != 0).mean() < 0.05 if starts else True


@pytest.mark.parametrize("clips", [1, 2, 5, 10])
def test_validation_clips_equal_torchvisions(clips):
    class Videos: pass
    for n in (1, 2, 4, 5, 17, 135, 285):
        videos = VideoClips.__new__(VideoClips)
        videos.clips = [torch.zeros(n, 1)]
        theirs = [int(i) for i in UniformClipSampler(videos, clips)]
        ours = uniform_starts(n, clips)
        assert len(ours) == len(theirs) == clips
        assert all(o - t in (0, 1) for o, t in zip(ours, theirs))  # theirs is float32 again
        assert all((i * (n - 1)) % max(clips - 1, 1) == 0 for i, (o, t) in enumerate(zip(ours, theirs)) if o != t)
