"""The catalogue of faults: each in one place, with its fix and where it is from.

How a fault is recognised is in the module of its subject (``network``, ``sampler``, ``training``,
``events``); adding one is adding an entry here and a rule or a pattern there, and a mutant to the
table that proves it is named (docs/debugging.md says how).
"""

from __future__ import annotations

import dataclasses

NOTES = "the notes this project comes from"
PADDING = "https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2"
AUTOGRAD = "https://pytorch.org/docs/stable/notes/autograd.html"
KERAS_ADAM = "https://keras.io/api/optimizers/adam/"


@dataclasses.dataclass(frozen=True)
class Fault:
    """A known way for a port to be wrong.

    Attributes:
        id: stable; what reports and other programs call it.
        title: what is wrong, in words.
        fix: one line of PyTorch, or of advice where no line can be.
        source: the thread, paper or page that describes it.
    """

    id: str
    title: str
    fix: str
    source: str = NOTES


CATALOGUE = {
    fault.id: fault
    for fault in (
        # The network.
        Fault(
            "padding-same",
            "the padding is not TensorFlow's SAME",
            "x = F.pad(x, (left, right, top, bottom)) before an unpadded convolution, the larger "
            "half after",
            PADDING,
        ),
        Fault(
            "flatten-order",
            "the feature map is flattened channels first",
            "x.permute(0, 2, 3, 1).flatten(1), or declare TorchSide(flatten='NCHW') and convert "
            "the dense kernel",
        ),
        Fault(
            "kernel-layout",
            "height and width of the kernel are swapped",
            "torch.from_numpy(kernel.transpose(3, 2, 0, 1)): HWIO to OIHW",
        ),
        Fault(
            "kernel-flip",
            "the kernel is flipped, as in a convolution of the textbooks",
            "use the kernel as it is: both frameworks compute cross-correlations",
        ),
        Fault(
            "dense-layout",
            "the dense kernel is transposed",
            "linear.weight.copy_(kernel.T): in x out to out x in",
        ),
        Fault("bias-missing", "the bias is not added", "bias=True, and load it"),
        Fault(
            "activation",
            "another activation",
            "use the reference's activation",
        ),
        Fault(
            "layer-missing",
            "a layer of the reference has no counterpart",
            "add the layer",
        ),
        Fault(
            "layer-hyperparameter",
            "a layer's stride or slope is another",
            "give the layer the reference's argument",
            "https://keras.io/api/layers/activation_layers/leaky_relu/",
        ),
        Fault(
            "energy-sign",
            "the network returns the negative of what the reference returns",
            "return the score, or declare TorchSide(energy_sign=-1)",
            "https://github.com/phlippe/uvadlc_notebooks/issues/60",
        ),
        # The gradient that the sampler follows.
        Fault(
            "gradient-mean",
            "energies are averaged over the batch before the gradient, not summed",
            "torch.autograd.grad(scores.sum(), images): the mean divides each gradient by B",
        ),
        Fault(
            "gradient-batch-coupled",
            "an image's energy depends on the other images of its batch",
            "model.eval() while sampling, and no statistics over the batch",
        ),
        Fault(
            "gradient-not-tracked",
            "the images do not require gradients when the network is evaluated",
            "images = images.detach().requires_grad_(True) at the head of every step",
            AUTOGRAD,
        ),
        Fault(
            "gradient-non-leaf",
            "requires_grad, .grad or a change in place, on a tensor where autograd forbids it",
            "images = images.detach().requires_grad_(True): detach makes it a leaf again",
            AUTOGRAD,
        ),
        Fault(
            "gradient-accumulated",
            "gradients of earlier steps are added to this one's",
            "torch.autograd.grad(scores.sum(), images) instead of backward()",
            AUTOGRAD,
        ),
        Fault(
            "gradient-point",
            "the gradient is taken at another point than the noisy, clipped images",
            "add the noise and clip first, then evaluate the network on the result",
        ),
        # The sampler's step.
        Fault(
            "noise-scale",
            "the noise has another scale",
            "images + torch.randn_like(images) * noise: noise is a standard deviation",
        ),
        Fault(
            "noise-distribution",
            "the noise is drawn from another distribution, or once for many elements",
            "images + torch.randn_like(images) * noise: one standard normal for each element",
            "https://docs.pytorch.org/docs/stable/generated/torch.randn_like.html",
        ),
        Fault(
            "draw-order",
            "random numbers are drawn that the reference does not draw, before those it does",
            "draw nothing but the noise of each step: a buffer is made by torch.empty, not "
            "torch.randn",
            "https://uvadlc-notebooks.readthedocs.io/en/latest/tutorial_notebooks/tutorial8/"
            "Deep_Energy_Models.html",
        ),
        Fault(
            "step-count",
            "the sampler makes another number of steps than it is asked for",
            "for _ in range(steps):",
        ),
        Fault(
            "noise-missing",
            "no noise is added, or only at the first step",
            "images = images + torch.randn_like(images) * noise, at every step",
        ),
        Fault(
            "noise-discarded",
            "noise is drawn and not used",
            "images = images + torch.randn_like(images) * noise: the sum has to be kept",
        ),
        Fault(
            "noise-after-update",
            "the noise is added after the update",
            "add the noise at the head of the step, before the gradient",
        ),
        Fault(
            "noise-reused",
            "the same noise is added at every step",
            "call torch.randn_like(images) inside the loop",
        ),
        Fault("clip-missing", "the images are not clipped", "images = images.clamp(-1, 1)"),
        Fault(
            "clip-range", "the images are clipped to another range", "images = images.clamp(-1, 1)"
        ),
        Fault(
            "gradient-clip-missing",
            "the gradient is not clipped",
            "gradients = gradients.clamp(-gradient_clip, gradient_clip)",
        ),
        Fault(
            "gradient-clip-range",
            "the gradient is clipped to another range",
            "gradients = gradients.clamp(-gradient_clip, gradient_clip)",
        ),
        Fault(
            "gradient-clip-norm",
            "the gradient is clipped by its norm",
            "gradients.clamp(-gradient_clip, gradient_clip): element by element",
        ),
        Fault("step-size", "the step has another size", "images + step_size * gradients"),
        Fault(
            "update-sign",
            "the images go down the score instead of up",
            "images + step_size * gradients",
            "https://github.com/phlippe/uvadlc_notebooks/issues/60",
        ),
        # What the sampler leaves behind.
        Fault(
            "state-not-detached",
            "the samples carry the graph of the steps that made them",
            "images = images.detach() at every step",
            AUTOGRAD,
        ),
        Fault("input-mutated", "the caller's images are changed", "work on images.clone()"),
        Fault(
            "trajectory-aliased",
            "every stored step is the same tensor",
            "images_per_step.append(images.clone())",
        ),
        Fault(
            "no-grad-context",
            "gradients are switched off where the sampler needs them",
            "with torch.enable_grad(): around the evaluation and its gradient",
            AUTOGRAD,
        ),
        Fault(
            "mode-not-restored",
            "the model is left in another mode",
            "was_training = model.training; ...; model.train(was_training)",
        ),
        Fault(
            "parameters-left-frozen",
            "parameters are left with requires_grad switched off",
            "for p in model.parameters(): p.requires_grad_(True), in a finally block",
        ),
        # Data, training and the rest.
        Fault(
            "initial-range",
            "the replay buffer starts with images of another range",
            "torch.rand(shape) * 2 - 1: uniform on [-1, 1]",
        ),
        Fault(
            "data-range",
            "images are scaled or padded otherwise",
            "(x - 127.5) / 127.5, then two pixels of -1 on each side",
        ),
        Fault(
            "buffer-order",
            "the replay buffer's images are in another order",
            "torch.cat([new, old]), and torch.cat([samples, self.images])",
        ),
        Fault(
            "buffer-size",
            "the replay buffer keeps other images, or another number of them",
            "torch.cat([samples, self.images])[:buffer_size]: the tail is dropped",
        ),
        Fault(
            "loss-sign",
            "the contrastive divergence has the other sign",
            "fake_score - real_score, which falls when real images score higher",
            "https://github.com/phlippe/uvadlc_notebooks/issues/60",
        ),
        Fault(
            "loss-term",
            "a term of the loss is missing or weighted otherwise",
            "contrastive_divergence + alpha * (mean of squared scores, real and fake)",
        ),
        Fault(
            "loss-reduction",
            "a loss is reduced otherwise",
            "scores.square().mean(): the mean of the squares, not the square of the mean",
        ),
        Fault(
            "batch-split",
            "the scores of real and fake images are told apart at another place",
            "scores[: len(scores) // 2] and the rest where the reference cuts its batch in halves; "
            "scores[: len(real)] where it counts",
        ),
        Fault(
            "validation-data",
            "validation is made on other images",
            "the real images as they are, against fresh uniform noise",
        ),
        Fault(
            "optimizer-epsilon",
            "Adam's epsilon is where torch has it, not where Keras has it",
            "use an Adam that adds eps to sqrt(v) without bias correction; no eps makes torch's "
            "equal Keras's",
            KERAS_ADAM,
        ),
        Fault(
            "optimizer-hyperparameter",
            "the optimizer has another learning rate, decay or rule",
            "give the optimizer the reference's hyperparameters",
            KERAS_ADAM,
        ),
        Fault(
            "initializer",
            "fresh weights are drawn from another distribution",
            "nn.init.xavier_uniform_(weight); nn.init.zeros_(bias): Keras's defaults",
        ),
        Fault(
            "dtype",
            "a computation falls back to float32",
            "leave dtype= out, or use x.dtype",
        ),
    )
}
