"""Losses and modules as CUDA graphs: where a step is thousands of small ops, starting them takes longer than they do.

No autocast around or within may keep casts from one call to the next."""

import torch


class Graphed:
    """losses(*tensors) -> (loss, ...), whose backward adds to gradients that are there already. A call gives the same without a history, its
    backward done; one graph is kept for each shape of the first tensor."""

    def __init__(self, losses, zero_gradient):
        self.losses, self.zero_gradient, self.kept = losses, zero_gradient, {}

    def __call__(self, *tensors):
        shape = tensors[0].shape
        if shape not in self.kept:
            self.kept[shape] = self.capture(tensors)
        graph, inputs, outputs = self.kept[shape]
        for to, tensor in zip(inputs, tensors):
            to.copy_(tensor)
        graph.replay()
        return outputs

    def run(self, inputs):
        outputs = self.losses(*inputs)
        outputs[0].backward()
        return [o.detach() for o in outputs]

    def capture(self, tensors):
        inputs = [t.clone() for t in tensors]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):  # libraries choose and allocate
                self.run(inputs)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = self.run(inputs)
        self.zero_gradient()
        return graph, inputs, outputs


class GraphedModule:
    """make()'s module, forward and backward, one graph of each for every set of shapes that it is called with."""

    def __init__(self, make):
        self.make, self.kept, self.pool = make, {}, torch.cuda.graph_pool_handle()

    def __call__(self, *tensors):
        shapes = tuple(t.shape for t in tensors)
        if shapes not in self.kept:
            samples = tuple(t.detach().clone().requires_grad_(t.requires_grad) for t in tensors)
            self.kept[shapes] = torch.cuda.make_graphed_callables(self.make(), samples, allow_unused_input=True, pool=self.pool)
        return self.kept[shapes](*tensors)
