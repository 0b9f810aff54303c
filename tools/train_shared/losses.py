"""Terms of the autoencoders' losses."""

import torch.nn.functional as F


def gradients(picture):
    return picture[..., 1:, :] - picture[..., :-1, :], picture[..., :, 1:] - picture[..., :, :-1]


def dissimilarity(a, b):
    """1 - SSIM of pictures in -1..1 over 7 x 7 windows, mean."""
    def mean(x):
        return F.avg_pool2d(x, 7, 1)

    ma, mb = mean(a), mean(b)
    va, vb, vab = mean(a * a) - ma * ma, mean(b * b) - mb * mb, mean(a * b) - ma * mb
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    return 1 - (((2 * ma * mb + c1) * (2 * vab + c2)) / ((ma * ma + mb * mb + c1) * (va + vb + c2))).mean()
