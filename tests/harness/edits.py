"""Edits of the port, each a way for a real port to be wrong, and the check that must see it.

An edit replaces text in one of the port's files, so that what is checked differs from the port in
nothing else. ``{}`` in the table is the file's own text around the edit; see :func:`write_port`.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

HEAD = """

import dataclasses
import ebm.pair
"""

SIDES = {
    "energy_model.py": "side = dataclasses.replace(ebm.pair.port, model=energy_model)\n",
    "langevin.py": "import port_torch.replay_buffer\n"
    "port_torch.replay_buffer.generate_samples = generate_samples\n"
    "side = dataclasses.replace(ebm.pair.port, generate_samples=generate_samples)\n",
    "replay_buffer.py": "side = dataclasses.replace(ebm.pair.port, replay_buffer=ReplayBuffer)\n",
    "images.py": "side = dataclasses.replace(ebm.pair.port, preprocess=preprocess)\n",
    "training.py": "side = dataclasses.replace(ebm.pair.port, train_step=train_step,\n"
    "                           make_optimizer=make_optimizer, validate=validate)\n",
}


@dataclasses.dataclass(frozen=True)
class Edit:
    """One edit.

    Attributes:
        name: what is wrong, in a few words.
        fault: what ``parity explain`` must name, an id of the catalogue; None for what it
            has not, which must be said to be unexplained.
        file: of ``port_torch``.
        replacements: (text of the file, text to put there).
        red: the checks that must not be green.
        green: checks that must stay green, for the fault is not theirs.
    """

    name: str
    fault: str | None
    file: str
    replacements: tuple[tuple[str, str], ...]
    red: tuple[str, ...]
    green: tuple[str, ...] = ()


MODEL, SAMPLER = "energy_model.py", "langevin.py"
BUFFER, TRAINING, IMAGES = "replay_buffer.py", "training.py", "images.py"
NETWORK = ("energies", "energy_gradients", "activations")
SAMPLES = ("samples_teacher_forced", "samples_free_running")

PAD = "F.pad(x, (left, right, top, bottom))"
NOISE = "            images = images + torch.randn_like(images) * noise\n"
NOISE_CLIP = NOISE + "            images = images.clamp(-1.0, 1.0)\n"
GRADIENT = "            gradients = score_gradients(model, images)\n"
GRADIENT_CLIP = "            gradients = gradients.clamp(-gradient_clip, gradient_clip)\n"
UPDATE = "            images = images + step_size * gradients\n"
UPDATE_CLIP = UPDATE + "            images = images.clamp(-1.0, 1.0)\n"
LOOP = "        for _ in range(steps):\n"
CLONE = "            images = images.clone()"
CLONE_LINE = (
    "        images = images.clone()  # out of inference mode: a tensor that autograd may record\n"
)
GRAD = "        (gradients,) = torch.autograd.grad(scores.sum(), images)\n"
LEAF = "        images = images.detach().requires_grad_()  # a leaf of a graph of its own\n"
STORE = "                images_per_step.append(images)\n"
RETURN = "        return torch.stack(images_per_step) if return_every_step else images\n"
MODE = "            module.training = was_training\n"
ADAM_CALL = "KerasAdam(model.parameters(), "
ADAM = "return KerasAdam("
SQUARES = "real_scores.square().mean() + fake_scores.square().mean()"
VALIDATION_BUFFER = "ReplayBuffer(settings).sample(model)[: len(real)], settings)"
BUFFER_START = "uniform_images(settings.batch_size, settings)"
CONTEXT = "    with torch.inference_mode(False), torch.no_grad(), evaluating(model):\n"

EDITS = (
    Edit(
        "padding 1 everywhere", "padding-same", MODEL, ((PAD, "F.pad(x, (1, 1, 1, 1))"),), NETWORK
    ),
    Edit(
        "padding k // 2",
        "padding-same",
        MODEL,
        (
            (
                PAD,
                "F.pad(x, (self.kernel_size[1] // 2,) * 2 + (self.kernel_size[0] // 2,) * 2)",
            ),
        ),
        NETWORK,
    ),
    Edit(
        "no flatten permutation",
        "flatten-order",
        MODEL,
        (("x.permute(0, 2, 3, 1).flatten(1)", "x.flatten(1)"),),
        ("energies", "energy_gradients", "activations"),
    ),
    Edit(
        "kernels with H and W swapped",
        "kernel-layout",
        MODEL,
        (
            (
                "super().forward(F.pad(x, (left, right, top, bottom)))",
                "F.conv2d(F.pad(x, (left, right, top, bottom)), "
                "self.weight.transpose(2, 3), self.bias, self.stride)",
            ),
        ),
        NETWORK,
    ),
    Edit(
        "a bias dropped",
        "bias-missing",
        MODEL,
        (
            (
                "super().forward(F.pad(x, (left, right, top, bottom)))",
                "F.conv2d(F.pad(x, (left, right, top, bottom)), self.weight, None, self.stride)",
            ),
        ),
        ("energies", "activations"),
    ),
    Edit("swish to relu", "activation", MODEL, (('"swish": F.silu', '"swish": F.relu'),), NETWORK),
    Edit("swish to gelu", "activation", MODEL, (('"swish": F.silu', '"swish": F.gelu'),), NETWORK),
    Edit(
        "energies averaged before the gradient",
        "gradient-mean",
        SAMPLER,
        (("scores.sum()", "scores.mean()"),),
        (*SAMPLES, "replay_buffer"),
        NETWORK,
    ),
    Edit(
        "gradient of the wrong sign",
        "update-sign",
        SAMPLER,
        (("scores.sum()", "-scores.sum()"),),
        SAMPLES,
        NETWORK,
    ),
    Edit(
        "gradients accumulate over steps",
        "gradient-accumulated",
        SAMPLER,
        (
            (LOOP, "        total = 0\n" + LOOP),
            (GRADIENT, GRADIENT + "            gradients = total = total + gradients\n"),
        ),
        ("samples_free_running",),
        ("samples_teacher_forced",),
    ),
    Edit(
        "gradient taken at the un-noised image",
        "gradient-point",
        SAMPLER,
        (
            (LOOP, LOOP + "            clean = images\n"),
            (GRADIENT, GRADIENT.replace("images)", "clean)")),
        ),
        SAMPLES,
    ),
    Edit(
        "noise scale squared",
        "noise-scale",
        SAMPLER,
        (("* noise\n", "* noise**2\n"),),
        (*SAMPLES, "noise_distribution"),
    ),
    Edit(
        "noise added once instead of every step",
        "noise-missing",
        SAMPLER,
        ((LOOP, LOOP.replace("_", "step")), (NOISE, "            if step == 0:\n    " + NOISE)),
        ("samples_free_running", "draw_log", "noise_distribution"),
    ),
    Edit(
        "noise added after the update",
        "noise-after-update",
        SAMPLER,
        ((NOISE, ""), (UPDATE, UPDATE + NOISE)),
        (*SAMPLES, "draw_log"),
    ),
    Edit("first clip dropped", "clip-missing", SAMPLER, ((NOISE_CLIP, NOISE),), SAMPLES),
    Edit("last clip dropped", "clip-missing", SAMPLER, ((UPDATE_CLIP, UPDATE),), SAMPLES),
    Edit(
        "gradient clip dropped",
        "gradient-clip-missing",
        SAMPLER,
        ((GRADIENT_CLIP, ""),),
        ("samples_teacher_forced",),
    ),
    Edit(
        "gradient clipped by norm",
        "gradient-clip-norm",
        SAMPLER,
        (
            (
                GRADIENT_CLIP,
                "            gradients *= (gradient_clip / gradients.norm()).clamp(max=1)\n",
            ),
        ),
        SAMPLES,
    ),
    Edit(
        "step size halved",
        "step-size",
        SAMPLER,
        ((UPDATE, UPDATE.replace("step_size", "step_size / 2")),),
        SAMPLES,
    ),
    Edit(
        "input tensor changed in place",
        "input-mutated",
        SAMPLER,
        ((CLONE_LINE, ""), (NOISE, "            images += torch.randn_like(images) * noise\n")),
        ("state_restored",),
    ),
    Edit(
        "every stored step the same tensor",
        "trajectory-aliased",
        SAMPLER,
        ((RETURN, RETURN.replace("images_per_step)", "[images] * steps)")),),
        ("samples_free_running",),
        ("samples_teacher_forced",),
    ),
    Edit(
        "requires_grad never set",
        "gradient-not-tracked",
        SAMPLER,
        ((LEAF, "        images = images.detach()\n"),),
        (*SAMPLES, "state_restored"),
        NETWORK,
    ),
    Edit(
        "requires_grad set on a non-leaf",
        "gradient-non-leaf",
        SAMPLER,
        (
            (CONTEXT, "    with evaluating(model):\n"),
            (LEAF, "        images.requires_grad = True\n"),
        ),
        SAMPLES,
        NETWORK,
    ),
    Edit(
        "mode left in eval",
        "mode-not-restored",
        SAMPLER,
        ((MODE, "            pass\n"),),
        ("state_restored",),
        (*NETWORK, *SAMPLES),
    ),
    Edit(
        "the last result carries a graph",
        "state-not-detached",
        SAMPLER,
        (
            (CONTEXT, CONTEXT.replace("torch.no_grad()", "torch.enable_grad()")),
            (LEAF, "        images = images.requires_grad_()\n"),
            (GRAD, GRAD.replace("images)", "images, create_graph=True)")),
        ),
        ("state_restored",),
    ),
    Edit(
        "torch's Adam",
        "optimizer-epsilon",
        TRAINING,
        ((ADAM, "return torch.optim.Adam("),),
        ("training_state",),
        (*NETWORK, *SAMPLES, "validation"),
    ),
    Edit(
        "torch's Adam with Keras's epsilon",
        "optimizer-epsilon",
        TRAINING,
        ((ADAM_CALL, "torch.optim.Adam(model.parameters(), eps=1e-7, "),),
        ("training_state",),
        (*NETWORK, *SAMPLES, "validation"),
    ),
    Edit(
        "sign of the loss flipped",
        "loss-sign",
        TRAINING,
        (("fake_score - real_score", "real_score - fake_score"),),
        ("losses", "parameter_gradients"),
        (*NETWORK, *SAMPLES),
    ),
    Edit(
        "weight of the regulariser lost",
        "loss-term",
        TRAINING,
        (("settings.alpha * squares", "squares"),),
        ("losses", "parameter_gradients"),
    ),
    Edit(
        "square of the mean for mean of the squares",
        "loss-reduction",
        TRAINING,
        ((SQUARES, "real_scores.mean().square() + fake_scores.mean().square()"),),
        ("losses", "parameter_gradients"),
    ),
    Edit(
        "the published last batch mended",
        None,
        TRAINING,
        (('if settings.score_split == "halves" else len(real)', "if False else len(real)"),),
        ("losses", "parameter_gradients"),
    ),
    Edit(
        "real images without noise",
        None,
        TRAINING,
        (("    real = real + torch.randn_like(real) * settings.noise\n", ""),),
        ("draw_log", "losses"),
    ),
    Edit(
        "validation through a training buffer",
        None,
        TRAINING,
        (("uniform_images(len(real), settings), settings)", VALIDATION_BUFFER),),
        ("validation",),
        ("losses", "parameter_gradients", "training_state", "replay_buffer"),
    ),
    Edit(
        "gradients of the last step kept",
        "gradient-accumulated",
        TRAINING,
        (("    optimizer.zero_grad()\n", ""),),
        ("parameter_gradients",),
    ),
    Edit(
        "order of the buffer swapped",
        "buffer-order",
        BUFFER,
        (("torch.cat([new, old])", "torch.cat([old, new])"),),
        ("replay_buffer",),
        (*NETWORK, *SAMPLES, "validation"),
    ),
    Edit(
        "buffer starting in [0, 1]",
        "initial-range",
        BUFFER,
        ((BUFFER_START, "(uniform_images(settings.batch_size, settings) + 1) / 2"),),
        ("replay_buffer",),
        (*NETWORK, *SAMPLES, "validation"),
    ),
    Edit(
        "samples put at the buffer's end",
        "buffer-order",
        BUFFER,
        (("torch.cat([samples, self.images])", "torch.cat([self.images, samples])"),),
        ("replay_buffer",),
    ),
    Edit(
        "oldest samples kept",
        "buffer-size",
        BUFFER,
        (("[: settings.buffer_size]", "[-settings.buffer_size :]"),),
        ("replay_buffer",),
    ),
    Edit(
        "kernels flipped",
        "kernel-flip",
        MODEL,
        (
            (
                "super().forward(F.pad(x, (left, right, top, bottom)))",
                "F.conv2d(F.pad(x, (left, right, top, bottom)), "
                "self.weight.flip(2, 3), self.bias, self.stride)",
            ),
        ),
        NETWORK,
    ),
    Edit(
        "dense kernels reshaped, not transposed",
        "dense-layout",
        MODEL,
        (
            (
                'x = self.get_submodule(f"dense{number}")(x)',
                'd = self.get_submodule(f"dense{number}"); '
                "x = F.linear(x, d.weight.T.reshape(d.weight.shape), d.bias)",
            ),
        ),
        ("energies", "activations"),
    ),
    Edit(
        "a convolution without a bias",
        "bias-missing",
        MODEL,
        (
            (
                "super().__init__(in_channels, filters, kernel, stride)",
                "super().__init__(in_channels, filters, kernel, stride, bias=False)",
            ),
        ),
        NETWORK,
    ),
    Edit(
        "a layer left out",
        "layer-missing",
        MODEL,
        (
            ("enumerate(settings.dense, start=1)", "enumerate(settings.dense[1:], start=1)"),
            (
                "enumerate(self.settings.dense, start=1)",
                "enumerate(self.settings.dense[1:], start=1)",
            ),
        ),
        NETWORK,
    ),
    Edit(
        "the last stride left out",
        "layer-hyperparameter",
        MODEL,
        (
            (
                "SameConv2d(channels, layer.filters, layer.kernel, layer.stride)",
                "SameConv2d(channels, layer.filters, layer.kernel, "
                "layer.stride if number < 4 else (1, 1))",
            ),
        ),
        NETWORK,
    ),
    Edit(
        "energy for score",
        "energy-sign",
        MODEL,
        (('self.get_submodule("score")(x)', '-self.get_submodule("score")(x)'),),
        ("energies", "energy_gradients"),
        ("activations",),
    ),
    Edit(
        "images that see their batch",
        "gradient-batch-coupled",
        MODEL,
        (("return scores\n", "return scores + 1e-3 * (scores - scores.mean())\n"),),
        ("batch_independence",),
        ("activations",),
    ),
    Edit(
        "a float32 literal",
        "dtype",
        MODEL,
        (
            (
                "        x = images\n",
                "        x = images + torch.FloatTensor([0.0]).to(images.dtype)\n",
            ),
        ),
        NETWORK,
    ),
    Edit(
        "torch's initial weights",
        "initializer",
        MODEL,
        (("nn.init.xavier_uniform_(parameter)", "nn.init.kaiming_uniform_(parameter, a=5**0.5)"),),
        ("initialisation",),
        (*NETWORK, *SAMPLES),
    ),
    Edit(
        "the same noise at every step",
        "noise-reused",
        SAMPLER,
        (
            (LOOP, "        z = torch.randn_like(images)\n" + LOOP),
            (NOISE, "            images = images + z * noise\n"),
        ),
        ("samples_free_running", "draw_log", "noise_distribution"),
    ),
    Edit(
        "noise drawn and thrown away",
        "noise-discarded",
        SAMPLER,
        ((NOISE, "            torch.randn_like(images) * noise\n"),),
        (*SAMPLES, "noise_distribution"),
    ),
    Edit(
        "images clipped to [0, 1]",
        "clip-range",
        SAMPLER,
        ((UPDATE_CLIP, UPDATE + "            images = images.clamp(0.0, 1.0)\n"),),
        SAMPLES,
    ),
    Edit(
        "parameters left frozen",
        "parameters-left-frozen",
        SAMPLER,
        (
            (
                "            module.training = False\n",
                "            module.training = False\n            module.requires_grad_(False)\n",
            ),
        ),
        ("state_restored",),
        (*NETWORK, *SAMPLES),
    ),
    Edit(
        "the gradient under no_grad",
        "no-grad-context",
        SAMPLER,
        (("    with torch.enable_grad():\n", "    with torch.no_grad():\n"),),
        SAMPLES,
        NETWORK,
    ),
    Edit(
        "grey levels in [0, 1]",
        "data-range",
        IMAGES,
        (("- 127.5) / 127.5", "- 0.0) / 255"),),
        ("preprocessing",),
        NETWORK,
    ),
    Edit(
        "ten times the learning rate",
        "optimizer-hyperparameter",
        TRAINING,
        (("lr=settings.learning_rate", "lr=10 * settings.learning_rate"),),
        ("training_state",),
    ),
    Edit(
        "another decay of the moments",
        "optimizer-hyperparameter",
        TRAINING,
        (("lr=settings.learning_rate", "lr=settings.learning_rate, betas=(0.5, 0.999)"),),
        ("training_state",),
    ),
)


def write_port(edit: Edit, folder: Path) -> Path:
    """The edited file, with a side declaration at its end; returns its path, a SPEC."""
    text = (ROOT / "port_torch" / edit.file).read_text()
    for old, new in edit.replacements:
        assert text.count(old) == 1, (
            f"{edit.name}: {old!r} is {text.count(old)} times in {edit.file}"
        )
        text = text.replace(old, new)
    path = folder / f"{re.sub(r'[^a-z0-9]+', '_', edit.name.lower())}.py"
    path.write_text(text + HEAD + SIDES[edit.file])
    return path
