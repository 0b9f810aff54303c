"""Writes tests/data/quality.json: PSNR and SSIM of scikit-image for pictures that the test draws itself.

Pictures are [3, height, width] from a generator of congruences: the reference is noise that was
averaged over `smooth` values along the rows; the picture mixes `mix`/8 of other noise into it; both are stretched by `stretch` around 0.5, and what
leaves 0..1 is clamped.
"""

import json
import os

import numpy
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

OUT = os.path.join(os.path.dirname(__file__), "..", "..", "tests", "data", "quality.json")
CASES = [
    dict(height=11, width=11, smooth=1, mix=2, stretch=1.0),
    dict(height=16, width=23, smooth=3, mix=1, stretch=1.0),
    dict(height=23, width=16, smooth=5, mix=4, stretch=3.0),
    dict(height=48, width=64, smooth=16, mix=1, stretch=4.0),
    dict(height=31, width=40, smooth=2, mix=8, stretch=1.0),
    dict(height=12, width=12, smooth=2, mix=0, stretch=1.0),
]


def noise(count, state):
    values = numpy.empty(count)
    for i in range(count):
        state = (state * 1664525 + 1013904223) % 2 ** 32
        values[i] = (state >> 24) / 255
    return values


def pictures(height, width, smooth, mix, stretch):
    count = 3 * height * width
    raw = noise(count + smooth - 1, 1)
    x = sum(raw[i:i + count] for i in range(smooth)) / smooth
    y = (x * (8 - mix) + noise(count, 2) * mix) / 8
    shape = (3, height, width)
    return [((v - 0.5) * stretch + 0.5).astype(numpy.float32).clip(0, 1).astype(numpy.float64).reshape(shape) for v in (y, x)]


def main():
    cases = []
    for case in CASES:
        picture, reference = pictures(**case)
        equal = case["mix"] == 0
        cases.append(dict(
            case, mse=mean_squared_error(reference, picture),
            psnr=None if equal else peak_signal_noise_ratio(reference, picture, data_range=1),
            ssim=structural_similarity(picture, reference, data_range=1, channel_axis=0, gaussian_weights=True, sigma=1.5,
                                       use_sample_covariance=False)))
        print(cases[-1])
    with open(OUT, "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")


if __name__ == "__main__":
    main()
