"""What other programs take of a GPU's memory, as its driver sees it. SPDX-License-Identifier: Apache-2.0"""
import threading
import time

import torch


class UsedMemory:
    """Bytes of the GPU that other programs took since it began, the most and now."""

    def __init__(self, device):
        self.on, self.least = device == "cuda", None
        self.before = self.free()
        threading.Thread(target=self.watch, daemon=True).start()

    def free(self):
        return torch.cuda.mem_get_info()[0] if self.on else 0

    def watch(self):
        while self.on:
            self.least = min(self.least or self.before, self.free())
            time.sleep(0.002)

    def most(self):
        self.on = False
        return self.before - (self.least or self.before)
