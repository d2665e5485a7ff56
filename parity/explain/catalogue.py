"""The catalogue of faults: each in one place, with where it occurs, its mend and where it is from.

How a fault is recognised is in the module of its recogniser; adding one is adding an entry here, an
option or a pattern there, and a mutant that proves it is named (docs/debugging.md says how).
"""

from __future__ import annotations

import dataclasses
import enum

NOTES = "the notes this project comes from"
UVA = (
    "https://github.com/phlippe/uvadlc_notebooks/blob/master/docs/tutorial_notebooks/tutorial8/"
    "Deep_Energy_Models.ipynb"
)
"""The tutorial's ``Sampler`` and ``DeepEnergyModel``, which the published program follows."""

PUBLISHED = (
    "https://github.com/davidADSP/Generative_Deep_Learning_2nd_Edition/blob/main/notebooks/07_ebm/"
    "01_ebm/ebm.ipynb"
)
SIGNS = "https://github.com/phlippe/uvadlc_notebooks/issues/60"
DOCS = "https://docs.pytorch.org/docs/stable/"
AUTOGRAD = DOCS + "notes/autograd.html"
IN_PLACE = "https://discuss.pytorch.org/t/what-is-in-place-operation/16244"
ZERO_GRAD = DOCS + "generated/torch.optim.Optimizer.zero_grad.html"


class Where(enum.StrEnum):
    """Where a fault can occur."""

    NETWORK = "network"
    GRADIENT = "gradient"
    STEP = "sampler step"
    LEFT = "what the sampler leaves"
    TRAINING = "training"
    DATA = "data"


class Recogniser(enum.Enum):
    """How a fault is recognised, and the modules that do it, as patterns under ``parity/``.

    A test holds the ids that stand in those modules against the entries below, both ways.
    """

    REFIT = ("refit of the segment", "explain/network/*.py")
    VALUE = ("looked up among what the port computes", "explain/by_value/*.py")
    MISSING = ("weights that nothing of the port holds or uses", "explain/network/localise.py")
    BACKWARD = ("vector-Jacobian product of the segment", "explain/network/localise.py")
    ALONE = ("an image alone against the same in its batch", "explain/explain.py")
    RULE = ("rule of the step on the probe", "explain/sampler/*.py")
    DRAWN = ("event in the draw log", "explain/sampler/*.py")
    EXCEPTION = ("exception, and the state of gradients at it", "explain/events.py")
    STATE = (
        "what a run leaves behind",
        "frameworks/torch/state.py frameworks/torch/globals.py explain/events.py",
    )
    STAGE = ("stage of a training step on its probe", "explain/training/*.py")
    PRECISION = ("operations that turn float32", "explain/explain.py")
    CHECK = ("what the check saw", "explain/explain.py entries/noise.py entries/initialisation.py")

    @property
    def phrase(self) -> str:
        return self.value[0]

    @property
    def modules(self) -> tuple[str, ...]:
        return tuple(self.value[1].split())


@dataclasses.dataclass(frozen=True)
class Fault:
    """A known way for a port to be wrong.

    Attributes:
        id: stable; what reports and other programs call it.
        title: what is wrong, in words.
        where: it can occur.
        by: what recognises it.
        fix: one line of PyTorch, or of advice where no line can be.
        source: the thread or page that describes it, or the notes if they do.
    """

    id: str
    title: str
    where: tuple[Where, ...]
    by: tuple[Recogniser, ...]
    fix: str
    source: str


NETWORK, GRADIENT, STEP = (Where.NETWORK,), (Where.GRADIENT,), (Where.STEP,)
LEFT, TRAINING, DATA = (Where.LEFT,), (Where.TRAINING,), (Where.DATA,)
REFIT, MISSING, RULE = (Recogniser.REFIT,), (Recogniser.MISSING,), (Recogniser.RULE,)
VALUE = (Recogniser.VALUE,)
EITHER = REFIT + VALUE
STATE, STAGE, CHECK = (Recogniser.STATE,), (Recogniser.STAGE,), (Recogniser.CHECK,)
DRAWN, EXCEPTION = (Recogniser.DRAWN,), (Recogniser.EXCEPTION,)

CATALOGUE = {
    fault.id: fault
    for fault in (
        Fault(
            "padding-same",
            "the padding is not TensorFlow's SAME",
            NETWORK,
            EITHER,
            "x = F.pad(x, (left, right, top, bottom)) before an unpadded convolution, the larger "
            "half after",
            "https://github.com/pytorch/pytorch/issues/3867",
        ),
        Fault(
            "flatten-order",
            "the feature map is flattened channels first",
            NETWORK,
            EITHER,
            "x.permute(0, 2, 3, 1).flatten(1), or declare TorchSide(flatten='NCHW') and convert "
            "the dense kernel",
            "https://henrysky.github.io/blog/2023-10-23-keras-torch/",
        ),
        Fault(
            "value-order",
            "a layer is given the right values in another order",
            NETWORK,
            VALUE,
            "bring them into the reference's order first: flip, permute or transpose",
            "https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html",
        ),
        Fault(
            "layer-input",
            "a layer is given another value",
            NETWORK,
            VALUE,
            "give the layer what the reference gives it",
            "https://keras.io/guides/functional_api/",
        ),
        Fault(
            "layer-kind",
            "a layer is of another kind",
            NETWORK,
            VALUE,
            "use the reference's kind of layer",
            "https://keras.io/api/layers/pooling_layers/",
        ),
        Fault(
            "operation-extra",
            "the port has an operation that the reference has not",
            NETWORK,
            VALUE,
            "leave it out",
            "https://discuss.pytorch.org/t/do-i-need-to-use-softmax-before-nn-crossentropyloss/16739",
        ),
        Fault(
            "kernel-layout",
            "height and width of the kernel are swapped",
            NETWORK,
            EITHER,
            "torch.from_numpy(kernel.transpose(3, 2, 0, 1)): HWIO to OIHW",
            "https://discuss.pytorch.org/t/copy-weights-of-tf-nn-depthwise-conv2d-to-f-conv2d/122503",
        ),
        Fault(
            "kernel-flip",
            "the kernel is flipped, as in a convolution of the textbooks",
            NETWORK,
            EITHER,
            "use the kernel as it is: both frameworks compute cross-correlations",
            "https://github.com/claroche-r/dmbsr/issues/4",
        ),
        Fault(
            "dense-layout",
            "the dense kernel is transposed",
            NETWORK,
            EITHER,
            "linear.weight.copy_(kernel.T): in x out to out x in",
            "https://page.teahaven.kr/programming/tf-to-torch/",
        ),
        Fault(
            "bias-missing",
            "the bias is not added",
            NETWORK,
            EITHER + MISSING,
            "bias=True, and load it",
            DOCS + "generated/torch.nn.Conv2d.html",
        ),
        Fault(
            "activation",
            "another activation",
            NETWORK,
            EITHER,
            "use the reference's activation",
            "https://keras.io/api/layers/activations/",
        ),
        Fault(
            "layer-missing",
            "a layer of the reference has no counterpart",
            NETWORK,
            MISSING + VALUE,
            "add the layer",
            DOCS + "generated/torch.nn.Module.html#torch.nn.Module.load_state_dict",
        ),
        Fault(
            "layer-hyperparameter",
            "a number or an option of a layer is another",
            NETWORK,
            EITHER,
            "give the layer the reference's argument",
            "https://keras.io/api/layers/activation_layers/leaky_relu/",
        ),
        Fault(
            "energy-sign",
            "the network returns the negative of what the reference returns",
            NETWORK,
            REFIT,
            "return the score, or declare TorchSide(energy_sign=-1)",
            SIGNS,
        ),
        Fault(
            "dtype",
            "a computation falls back to float32",
            NETWORK + STEP,
            (Recogniser.PRECISION, Recogniser.RULE),
            "leave dtype= out, or use x.dtype",
            DOCS + "generated/torch.set_default_dtype.html",
        ),
        # The gradient that the sampler follows.
        Fault(
            "gradient-mean",
            "energies are averaged over the batch before the gradient, not summed",
            GRADIENT,
            RULE,
            "torch.autograd.grad(scores.sum(), images): the mean divides each gradient by B",
            NOTES,
        ),
        Fault(
            "gradient-batch-coupled",
            "an image's energy depends on the other images of its batch",
            NETWORK,
            (Recogniser.ALONE,),
            "model.eval() while sampling, and no statistics over the batch",
            DOCS + "generated/torch.nn.BatchNorm2d.html",
        ),
        Fault(
            "gradient-not-tracked",
            "the images do not require gradients when the network is evaluated",
            NETWORK + GRADIENT,
            (Recogniser.BACKWARD, *EXCEPTION),
            "images = images.detach().requires_grad_(True) at the head of every step",
            NOTES,
        ),
        Fault(
            "gradient-non-leaf",
            "requires_grad, .grad or a change in place, on a tensor where autograd forbids it",
            GRADIENT,
            EXCEPTION,
            "images = images.detach().requires_grad_(True): detach makes it a leaf again",
            NOTES,
        ),
        Fault(
            "gradient-accumulated",
            "gradients of earlier steps are added to this one's",
            GRADIENT + TRAINING,
            RULE + STATE + STAGE,
            "torch.autograd.grad(scores.sum(), images) instead of backward()",
            ZERO_GRAD,
        ),
        Fault(
            "gradient-point",
            "the gradient is taken at another point than the noisy, clipped images",
            GRADIENT,
            RULE,
            "add the noise and clip first, then evaluate the network on the result",
            UVA,
        ),
        # The sampler's step.
        Fault(
            "noise-scale",
            "the noise has another scale",
            STEP + TRAINING,
            RULE + STAGE,
            "images + torch.randn_like(images) * noise: noise is a standard deviation",
            DOCS + "generated/torch.normal.html",
        ),
        Fault(
            "noise-distribution",
            "the noise is drawn from another distribution, or once for many elements",
            STEP,
            RULE,
            "images + torch.randn_like(images) * noise: one standard normal for each element",
            "https://docs.pytorch.org/docs/stable/generated/torch.randn_like.html",
        ),
        Fault(
            "draw-order",
            "random numbers are drawn that the reference does not draw, before those it does",
            STEP,
            DRAWN,
            "draw nothing but the noise of each step: a buffer is made by torch.empty, not "
            "torch.randn",
            UVA,
        ),
        Fault(
            "step-count",
            "the sampler makes another number of steps than it is asked for",
            STEP,
            RULE,
            "for _ in range(steps):",
            PUBLISHED,
        ),
        Fault(
            "noise-missing",
            "no noise is added, or only at the first step",
            STEP + TRAINING,
            RULE + DRAWN + STAGE,
            "images = images + torch.randn_like(images) * noise, at every step",
            UVA,
        ),
        Fault(
            "noise-discarded",
            "noise is drawn and not used",
            STEP,
            DRAWN,
            "images = images + torch.randn_like(images) * noise: the sum has to be kept",
            IN_PLACE,
        ),
        Fault(
            "noise-after-update",
            "the noise is added after the update",
            STEP,
            RULE + DRAWN,
            "add the noise at the head of the step, before the gradient",
            UVA,
        ),
        Fault(
            "noise-reused",
            "the same noise is added at every step",
            STEP,
            RULE,
            "call torch.randn_like(images) inside the loop",
            UVA,
        ),
        Fault(
            "clip-missing",
            "the images are not clipped",
            STEP + TRAINING,
            RULE + STAGE,
            "images = images.clamp(-1, 1)",
            UVA,
        ),
        Fault(
            "clip-range",
            "the images are clipped to another range",
            STEP + TRAINING,
            RULE + STAGE,
            "images = images.clamp(-1, 1)",
            UVA,
        ),
        Fault(
            "gradient-clip-missing",
            "the gradient is not clipped",
            STEP + TRAINING,
            RULE + STAGE,
            "gradients = gradients.clamp(-gradient_clip, gradient_clip)",
            UVA,
        ),
        Fault(
            "gradient-clip-range",
            "the gradient is clipped to another range",
            STEP + TRAINING,
            RULE + STAGE,
            "gradients = gradients.clamp(-gradient_clip, gradient_clip)",
            DOCS + "generated/torch.nn.utils.clip_grad_value_.html",
        ),
        Fault(
            "gradient-clip-norm",
            "the gradient is clipped by its norm",
            STEP + TRAINING,
            RULE + STAGE,
            "gradients.clamp(-gradient_clip, gradient_clip): element by element",
            DOCS + "generated/torch.nn.utils.clip_grad_norm_.html",
        ),
        Fault(
            "step-size",
            "the step has another size",
            STEP,
            RULE,
            "images + step_size * gradients",
            "https://github.com/point0bar1/ebm-anatomy/issues/1",
        ),
        Fault(
            "update-sign",
            "the images go down the score instead of up",
            STEP,
            RULE,
            "images + step_size * gradients",
            SIGNS,
        ),
        # What the sampler leaves behind.
        Fault(
            "state-not-detached",
            "the samples carry the graph of the steps that made them",
            LEFT + TRAINING,
            STATE + EXCEPTION + STAGE,
            "images = images.detach() at every step",
            DOCS + "notes/faq.html",
        ),
        Fault(
            "input-mutated",
            "the caller's images are changed",
            LEFT,
            STATE,
            "work on images.clone()",
            IN_PLACE,
        ),
        Fault(
            "trajectory-aliased",
            "every stored step is the same tensor",
            LEFT,
            STATE + RULE,
            "images_per_step.append(images.clone())",
            DOCS + "generated/torch.Tensor.detach.html",
        ),
        Fault(
            "no-grad-context",
            "gradients are switched off where the sampler needs them",
            GRADIENT,
            EXCEPTION + STATE,
            "with torch.enable_grad(): around the evaluation and its gradient",
            DOCS + "generated/torch.enable_grad.html",
        ),
        Fault(
            "global-state",
            "a call changes a flag or seeds a generator of the whole process",
            LEFT,
            STATE,
            "put it back in a finally block, or use the context manager that does; no manual_seed "
            "in a function that others call",
            DOCS + "notes/randomness.html",
        ),
        Fault(
            "noise-seeded",
            "every call draws the same noise",
            STEP,
            CHECK,
            "torch.randn_like(images), from torch's global generator: no manual_seed, and no "
            "torch.Generator made anew in the function",
            DOCS + "generated/torch.Generator.html",
        ),
        Fault(
            "mode-not-restored",
            "the model is left in another mode",
            LEFT,
            STATE,
            "was_training = model.training; ...; model.train(was_training)",
            AUTOGRAD,
        ),
        Fault(
            "parameters-left-frozen",
            "parameters are left with requires_grad switched off",
            LEFT,
            STATE,
            "for p in model.parameters(): p.requires_grad_(True), in a finally block",
            UVA,
        ),
        # Data and training.
        Fault(
            "data-range",
            "images are scaled or padded otherwise",
            DATA,
            CHECK,
            "(x - 127.5) / 127.5, then two pixels of -1 on each side",
            PUBLISHED,
        ),
        Fault(
            "initializer",
            "fresh weights are drawn from another distribution",
            NETWORK,
            CHECK,
            "nn.init.xavier_uniform_(weight); nn.init.zeros_(bias): Keras's defaults",
            "https://github.com/pytorch/pytorch/issues/15314",
        ),
        Fault(
            "initial-range",
            "the replay buffer starts with images of another range",
            TRAINING,
            STAGE,
            "torch.rand(shape) * 2 - 1: uniform on [-1, 1]",
            UVA,
        ),
        Fault(
            "batch-size",
            "a step samples another number of images",
            TRAINING,
            STAGE,
            "as many chains as the reference has, new and old together",
            UVA,
        ),
        Fault(
            "buffer-order",
            "the replay buffer's images are in another order",
            TRAINING,
            STAGE,
            "torch.cat([new, old]), and torch.cat([samples, self.images])",
            UVA,
        ),
        Fault(
            "buffer-size",
            "the replay buffer keeps other images, or another number of them",
            TRAINING,
            STAGE,
            "torch.cat([samples, self.images])[:buffer_size]: the tail is dropped",
            UVA,
        ),
        Fault(
            "loss-sign",
            "the contrastive divergence has the other sign",
            TRAINING,
            STAGE,
            "fake_score - real_score, which falls when real images score higher",
            SIGNS,
        ),
        Fault(
            "loss-term",
            "a term of the loss is missing or weighted otherwise",
            TRAINING,
            STAGE,
            "contrastive_divergence + alpha * (mean of squared scores, real and fake)",
            UVA,
        ),
        Fault(
            "loss-reduction",
            "a loss is reduced otherwise",
            TRAINING,
            STAGE,
            "scores.square().mean(): the mean of the squares, not the square of the mean",
            DOCS + "generated/torch.nn.MSELoss.html",
        ),
        Fault(
            "batch-split",
            "the scores of real and fake images are told apart at another place",
            TRAINING,
            STAGE,
            "scores[: len(scores) // 2] and the rest where the reference cuts its batch in halves; "
            "scores[: len(real)] where it counts",
            PUBLISHED,
        ),
        Fault(
            "validation-data",
            "validation is made on other images",
            TRAINING,
            STAGE,
            "the real images as they are, against fresh uniform noise",
            PUBLISHED,
        ),
        Fault(
            "optimizer-epsilon",
            "Adam's epsilon is where torch has it, not where Keras has it, or is another",
            TRAINING,
            STAGE,
            "use an Adam that adds eps to sqrt(v) without bias correction; no eps makes torch's "
            "equal Keras's",
            "https://github.com/tensorflow/tensorflow/issues/9047",
        ),
        Fault(
            "optimizer-hyperparameter",
            "the optimizer has another learning rate, decay or rule",
            TRAINING,
            STAGE,
            "give the optimizer the reference's hyperparameters",
            "https://keras.io/api/optimizers/adam/",
        ),
    )
}
