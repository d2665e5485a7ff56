"""The energy model's mutants: ways for a real port to be wrong, and the check that sees each."""

from __future__ import annotations

from parity.mutants.mutant import Interaction, Mutant, interacting

MODEL, SAMPLER = "port_torch/energy_model.py", "port_torch/langevin.py"
BUFFER, TRAINING = "port_torch/replay_buffer.py", "port_torch/training.py"
IMAGES = "port_torch/images.py"
NETWORK = ("energies", "energy_gradients", "activations")
SAMPLES = ("samples_teacher_forced", "samples_free_running")

CONV_CALL = 'self.get_submodule(f"conv{number}")'
CONV = f"x = {CONV_CALL}(x)\n"
ZERO_BIAS = (
    f"conv = {CONV_CALL}\n"
    '            zeros = {"bias": conv.weight.new_zeros(conv.out_channels)}\n'
    "            x = torch.func.functional_call(conv, zeros, (x,))\n"
)
FLIPPED = (
    f"conv = {CONV_CALL}\n"
    '            flipped = {"weight": conv.weight.flip(2, 3)}\n'
    "            x = torch.func.functional_call(conv, flipped, (x,))\n"
)
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
NON_LEAF = "        images = images.requires_grad_() + 0\n        images.requires_grad = True\n"
STORE = "                images_per_step.append(images)\n"
RETURN = "        return torch.stack(images_per_step) if return_every_step else images\n"
MODE = "            module.training = was_training\n"
ADAM_CALL = "KerasAdam(model.parameters(), "
ADAM = "return KerasAdam("
SQUARES = "real_scores.square().mean() + fake_scores.square().mean()"
VALIDATION_BUFFER = "ReplayBuffer(settings).sample(model)[: len(real)], settings)"
BUFFER_START = "uniform_images(settings.batch_size, settings)"
BATCH = "        settings = self.settings\n        n_new = "
HALF_A_BATCH = (
    "type(self.settings).from_dict("
    '{**self.settings.to_dict(), "batch_size": (self.settings.batch_size + 1) // 2})'
)
DECAY = (
    "    with torch.no_grad():\n"
    "        for parameter in model.parameters():\n"
    "            parameter.mul_(1 - 0.01 * settings.learning_rate)\n"
)
EMPTY = "    images_per_step = []\n"
CHECKED = "    _check(images, steps, step_size, noise, gradient_clip)\n"
CONTEXT = "    with torch.inference_mode(False), torch.no_grad(), evaluating(model):\n"

CONVS = ("conv1", "conv2", "conv3", "conv4")
LAYERS = (*CONVS, "dense1")
ACTIVATIONS = tuple(f"{layer}, its activation" for layer in LAYERS)
CUT_OFF = tuple(f"from {a} to {b}" for a, b in zip(LAYERS, (*LAYERS[1:], "score"), strict=True))
THE = "generate_samples, the "
THE_NOISE, THE_GRADIENT, THE_UPDATE = (f"{THE}noise",), (f"{THE}gradient",), (f"{THE}update",)
FIRST_CLIP, LAST_CLIP = (f"{THE}clip after the noise",), (f"{THE}clip after the update",)
THE_GRADIENT_CLIP = (f"{THE}gradient clip",)
THE_SAMPLER, THE_TRAJECTORY = ("generate_samples",), ("return_every_step",)
REAL_IMAGES, REGULARISER, OPTIMIZER = (
    ("train_step, the real images",),
    ("regulariser",),
    ("optimizer",),
)
STARTS, KEPT = ("replay buffer, where chains start",), ("replay buffer, after a step",)

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "padding 1 everywhere",
        "padding-same",
        MODEL,
        ((PAD, "F.pad(x, (1, 1, 1, 1))"),),
        NETWORK,
        where=CONVS,
    ),
    Mutant(
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
        where=CONVS,
    ),
    Mutant(
        "no flatten permutation",
        "flatten-order",
        MODEL,
        (("x.permute(0, 2, 3, 1).flatten(1)", "x.flatten(1)"),),
        ("energies", "energy_gradients", "activations"),
        where=("dense1",),
    ),
    Mutant(
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
        where=CONVS,
    ),
    Mutant(
        "a bias dropped",
        "bias-missing",
        MODEL,
        ((CONV, ZERO_BIAS),),
        ("energies", "activations"),
        where=CONVS,
    ),
    Mutant(
        "swish to relu",
        "activation",
        MODEL,
        (('"swish": F.silu', '"swish": F.relu'),),
        NETWORK,
        where=ACTIVATIONS,
    ),
    Mutant(
        "swish to gelu",
        "activation",
        MODEL,
        (('"swish": F.silu', '"swish": F.gelu'),),
        NETWORK,
        where=ACTIVATIONS,
    ),
    Mutant(
        "activations cut off from the graph",
        "gradient-not-tracked",
        MODEL,
        (('"swish": F.silu', '"swish": lambda x: F.silu(x.detach())'),),
        ("energy_gradients", *SAMPLES),
        ("energies", "activations"),
        where=CUT_OFF,
    ),
    Mutant(
        "energies averaged before the gradient",
        "gradient-mean",
        SAMPLER,
        (("scores.sum()", "scores.mean()"),),
        (*SAMPLES, "replay_buffer"),
        NETWORK,
        where=THE_GRADIENT,
    ),
    Mutant(
        "gradient of the wrong sign",
        "update-sign",
        SAMPLER,
        (("scores.sum()", "-scores.sum()"),),
        SAMPLES,
        NETWORK,
        where=THE_UPDATE,
    ),
    Mutant(
        "images go down the gradient",
        "update-sign",
        SAMPLER,
        (("images + step_size * gradients", "images - step_size * gradients"),),
        SAMPLES,
        NETWORK,
        where=THE_UPDATE,
    ),
    Mutant(
        "the step times the batch size",
        "step-size",
        SAMPLER,
        (("step_size * gradients", "len(images) * step_size * gradients"),),
        SAMPLES,
        where=THE_UPDATE,
    ),
    Mutant(
        "the gradient clip over the batch size",
        "gradient-clip-range",
        SAMPLER,
        (
            (
                "clamp(-gradient_clip, gradient_clip)",
                "clamp(-gradient_clip / (len(images) or 1), gradient_clip / (len(images) or 1))",
            ),
        ),
        SAMPLES,
        where=THE_GRADIENT_CLIP,
    ),
    Mutant(
        "gradients accumulate over steps",
        "gradient-accumulated",
        SAMPLER,
        (
            (LOOP, "        total = 0\n" + LOOP),
            (GRADIENT, GRADIENT + "            gradients = total = total + gradients\n"),
        ),
        ("samples_free_running",),
        ("samples_teacher_forced",),
        where=THE_GRADIENT,
    ),
    Mutant(
        "gradient taken at the un-noised image",
        "gradient-point",
        SAMPLER,
        (
            (LOOP, LOOP + "            clean = images\n"),
            (GRADIENT, GRADIENT.replace("images)", "clean)")),
        ),
        SAMPLES,
        where=THE_GRADIENT,
    ),
    Mutant(
        "noise scale squared",
        "noise-scale",
        SAMPLER,
        (("* noise\n", "* noise**2\n"),),
        (*SAMPLES, "noise_distribution"),
        where=THE_NOISE,
    ),
    Mutant(
        "noise added once instead of every step",
        "noise-missing",
        SAMPLER,
        ((LOOP, LOOP.replace("_", "step")), (NOISE, "            if step == 0:\n    " + NOISE)),
        ("samples_free_running", "draw_log", "noise_distribution"),
        where=THE_NOISE,
    ),
    Mutant(
        "noise added after the update",
        "noise-after-update",
        SAMPLER,
        ((NOISE, ""), (UPDATE, UPDATE + NOISE)),
        (*SAMPLES, "draw_log"),
        where=THE_NOISE,
    ),
    Mutant(
        "first clip dropped",
        "clip-missing",
        SAMPLER,
        ((NOISE_CLIP, NOISE),),
        SAMPLES,
        where=FIRST_CLIP,
    ),
    Mutant(
        "last clip dropped",
        "clip-missing",
        SAMPLER,
        ((UPDATE_CLIP, UPDATE),),
        SAMPLES,
        where=LAST_CLIP,
    ),
    Mutant(
        "gradient clip dropped",
        "gradient-clip-missing",
        SAMPLER,
        ((GRADIENT_CLIP, ""),),
        ("samples_teacher_forced",),
        where=THE_GRADIENT_CLIP,
    ),
    Mutant(
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
        where=THE_GRADIENT_CLIP,
    ),
    Mutant(
        "step size halved",
        "step-size",
        SAMPLER,
        ((UPDATE, UPDATE.replace("step_size", "step_size / 2")),),
        SAMPLES,
        where=THE_UPDATE,
    ),
    Mutant(
        "input tensor changed in place",
        "input-mutated",
        SAMPLER,
        ((CLONE_LINE, ""), (NOISE, "            images += torch.randn_like(images) * noise\n")),
        ("state_restored",),
        follows=("trajectory-aliased", "no-grad-context"),
        where=THE_SAMPLER,
    ),
    Mutant(
        "every stored step the same tensor",
        "trajectory-aliased",
        SAMPLER,
        ((RETURN, RETURN.replace("images_per_step)", "[images] * steps)")),),
        ("samples_free_running",),
        ("samples_teacher_forced",),
        where=THE_TRAJECTORY,
    ),
    Mutant(
        "requires_grad never set",
        "gradient-not-tracked",
        SAMPLER,
        ((LEAF, "        images = images.detach()\n"),),
        (*SAMPLES, "state_restored"),
        NETWORK,
        follows=("no-grad-context",),
        where=THE_SAMPLER,
    ),
    Mutant(
        "requires_grad set on a non-leaf",
        "gradient-non-leaf",
        SAMPLER,
        ((LEAF, NON_LEAF),),
        SAMPLES,
        NETWORK,
        where=THE_SAMPLER,
    ),
    Mutant(
        "mode left in eval",
        "mode-not-restored",
        SAMPLER,
        ((MODE, "            pass\n"),),
        ("state_restored",),
        (*NETWORK, *SAMPLES),
        where=THE_SAMPLER,
    ),
    Mutant(
        "the last result carries a graph",
        "state-not-detached",
        SAMPLER,
        (
            (CONTEXT, CONTEXT.replace("torch.no_grad()", "torch.enable_grad()")),
            (LEAF, "        images = images.requires_grad_()\n"),
            (GRAD, GRAD.replace("images)", "images, create_graph=True)")),
        ),
        ("state_restored",),
        where=("generate_samples", "train_step"),
    ),
    Mutant(
        "the generator seeded in each call",
        "global-state",
        SAMPLER,
        ((EMPTY, EMPTY + "    torch.manual_seed(0)\n"),),
        ("state_restored", "noise_distribution"),
        (*NETWORK, *SAMPLES),
        follows=("noise-seeded",),
        where=THE_SAMPLER,
    ),
    Mutant(
        "a seeded generator made in each call",
        "noise-seeded",
        SAMPLER,
        (
            (EMPTY, EMPTY + "    own = torch.Generator().manual_seed(0)\n"),
            (
                "torch.randn_like(images)",
                "torch.randn(images.shape, dtype=images.dtype, generator=own)",
            ),
        ),
        ("noise_distribution",),
        (*NETWORK, *SAMPLES, "state_restored"),
        where=THE_NOISE,
    ),
    Mutant(
        "torch's Adam",
        "optimizer-epsilon",
        TRAINING,
        ((ADAM, "return torch.optim.Adam("),),
        ("training_state",),
        (*NETWORK, *SAMPLES, "validation"),
        where=OPTIMIZER,
    ),
    Mutant(
        "torch's Adam with Keras's epsilon",
        "optimizer-epsilon",
        TRAINING,
        ((ADAM_CALL, "torch.optim.Adam(model.parameters(), eps=1e-7, "),),
        ("training_state",),
        (*NETWORK, *SAMPLES, "validation"),
        where=OPTIMIZER,
    ),
    Mutant(
        "sign of the loss flipped",
        "loss-sign",
        TRAINING,
        (("fake_score - real_score", "real_score - fake_score"),),
        ("losses", "parameter_gradients"),
        (*NETWORK, *SAMPLES),
        where=("contrastive divergence",),
    ),
    Mutant(
        "weight of the regulariser lost",
        "loss-term",
        TRAINING,
        (("settings.alpha * squares", "squares"),),
        ("losses", "parameter_gradients"),
        where=REGULARISER,
    ),
    Mutant(
        "square of the mean for mean of the squares",
        "loss-reduction",
        TRAINING,
        ((SQUARES, "real_scores.mean().square() + fake_scores.mean().square()"),),
        ("losses", "parameter_gradients"),
        where=REGULARISER,
    ),
    Mutant(
        "the published last batch mended",
        "batch-split",
        TRAINING,
        (('if settings.score_split == "halves" else len(real)', "if False else len(real)"),),
        ("losses", "parameter_gradients"),
        where=("the loss, real and fake scores",),
    ),
    Mutant(
        "real images without noise",
        "noise-missing",
        TRAINING,
        (("    real = real + torch.randn_like(real) * settings.noise\n", ""),),
        ("draw_log", "losses"),
        where=REAL_IMAGES,
    ),
    Mutant(
        "real images with twice the noise",
        "noise-scale",
        TRAINING,
        (
            (
                "torch.randn_like(real) * settings.noise",
                "2 * torch.randn_like(real) * settings.noise",
            ),
        ),
        ("losses",),
        (*NETWORK, *SAMPLES, "draw_log"),
        where=REAL_IMAGES,
    ),
    Mutant(
        "squares of the fake scores left out",
        "loss-term",
        TRAINING,
        ((SQUARES, "real_scores.square().mean()"),),
        ("losses", "parameter_gradients"),
        (*NETWORK, *SAMPLES),
        where=REGULARISER,
    ),
    Mutant(
        "validation through a training buffer",
        "validation-data",
        TRAINING,
        (("uniform_images(len(real), settings), settings)", VALIDATION_BUFFER),),
        ("validation",),
        ("losses", "parameter_gradients", "training_state", "replay_buffer"),
        where=("validate",),
    ),
    Mutant(
        "gradients of the last step kept",
        "gradient-accumulated",
        TRAINING,
        (("    optimizer.zero_grad()\n", ""),),
        ("parameter_gradients",),
        where=("train_step",),
    ),
    Mutant(
        "order of the buffer swapped",
        "buffer-order",
        BUFFER,
        (("torch.cat([new, old])", "torch.cat([old, new])"),),
        ("replay_buffer",),
        (*NETWORK, *SAMPLES, "validation"),
        where=STARTS,
    ),
    Mutant(
        "buffer starting in [0, 1]",
        "initial-range",
        BUFFER,
        ((BUFFER_START, "(uniform_images(settings.batch_size, settings) + 1) / 2"),),
        ("replay_buffer",),
        (*NETWORK, *SAMPLES, "validation"),
        where=("replay buffer, its first images",),
    ),
    Mutant(
        "samples put at the buffer's end",
        "buffer-order",
        BUFFER,
        (("torch.cat([samples, self.images])", "torch.cat([self.images, samples])"),),
        ("replay_buffer",),
        where=KEPT,
    ),
    Mutant(
        "oldest samples kept",
        "buffer-size",
        BUFFER,
        (("[: settings.buffer_size]", "[-settings.buffer_size :]"),),
        ("replay_buffer",),
        where=KEPT,
    ),
    Mutant(
        "half as many samples",
        "batch-size",
        BUFFER,
        ((BATCH, BATCH.replace("self.settings", HALF_A_BATCH)),),
        ("losses", "replay_buffer", "draw_log"),
        (*NETWORK, *SAMPLES),
        where=STARTS,
    ),
    Mutant(
        "kernels flipped",
        "kernel-flip",
        MODEL,
        ((CONV, FLIPPED),),
        NETWORK,
        where=CONVS,
    ),
    Mutant(
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
        where=("dense1",),
    ),
    Mutant(
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
        where=CONVS,
    ),
    Mutant(
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
        where=("dense1",),
    ),
    Mutant(
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
        where=("conv4",),
    ),
    Mutant(
        "energy for score",
        "energy-sign",
        MODEL,
        (('self.get_submodule("score")(x)', '-self.get_submodule("score")(x)'),),
        ("energies", "energy_gradients"),
        ("activations",),
        where=("the score",),
    ),
    Mutant(
        "images that see their batch",
        "gradient-batch-coupled",
        MODEL,
        (("return scores\n", "return scores + 1e-3 * (scores - scores.mean())\n"),),
        ("batch_independence",),
        ("activations",),
        where=("model",),
    ),
    Mutant(
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
        where=("model",),
    ),
    Mutant(
        "torch's initial weights",
        "initializer",
        MODEL,
        (("nn.init.xavier_uniform_(parameter)", "nn.init.kaiming_uniform_(parameter, a=5**0.5)"),),
        ("initialisation",),
        (*NETWORK, *SAMPLES),
        where=("model()",),
    ),
    Mutant(
        "the same noise at every step",
        "noise-reused",
        SAMPLER,
        (
            (LOOP, "        z = torch.randn_like(images)\n" + LOOP),
            (NOISE, "            images = images + z * noise\n"),
        ),
        ("samples_free_running", "draw_log", "noise_distribution"),
        where=THE_NOISE,
    ),
    Mutant(
        "noise drawn and thrown away",
        "noise-discarded",
        SAMPLER,
        ((NOISE, "            torch.randn_like(images) * noise\n"),),
        (*SAMPLES, "noise_distribution"),
        where=THE_NOISE,
    ),
    Mutant(
        "uniform noise",
        "noise-distribution",
        SAMPLER,
        (("torch.randn_like(images) * noise\n", "(2 * torch.rand_like(images) - 1) * noise\n"),),
        (*SAMPLES, "draw_log", "noise_distribution"),
        where=THE_NOISE,
    ),
    Mutant(
        "a draw before the loop",
        "draw-order",
        SAMPLER,
        ((EMPTY, EMPTY + "    torch.randn(images.shape)\n"),),
        (*SAMPLES, "draw_log"),
        ("noise_distribution",),
        where=THE_NOISE,
    ),
    Mutant(
        "a step too many",
        "step-count",
        SAMPLER,
        ((CHECKED, CHECKED + "    steps = steps + 1\n"),),
        ("samples_free_running", "draw_log"),
        NETWORK,
        where=("generate_samples, the loop",),
    ),
    Mutant(
        "images clipped to [0, 1]",
        "clip-range",
        SAMPLER,
        ((UPDATE_CLIP, UPDATE + "            images = images.clamp(0.0, 1.0)\n"),),
        SAMPLES,
        where=LAST_CLIP,
    ),
    Mutant(
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
        where=THE_SAMPLER,
    ),
    Mutant(
        "the gradient under no_grad",
        "no-grad-context",
        SAMPLER,
        (("    with torch.enable_grad():\n", "    with torch.no_grad():\n"),),
        SAMPLES,
        NETWORK,
        where=THE_SAMPLER,
    ),
    Mutant(
        "grey levels in [0, 1]",
        "data-range",
        IMAGES,
        (("- 127.5) / 127.5", "- 0.0) / 255"),),
        ("preprocessing",),
        NETWORK,
        where=("preprocess",),
    ),
    Mutant(
        "ten times the learning rate",
        "optimizer-hyperparameter",
        TRAINING,
        (("lr=settings.learning_rate", "lr=10 * settings.learning_rate"),),
        ("training_state",),
        where=OPTIMIZER,
    ),
    Mutant(
        "weights that decay",
        "optimizer-hyperparameter",
        TRAINING,
        (("    optimizer.step()\n", DECAY + "    optimizer.step()\n"),),
        ("training_state",),
        (*NETWORK, *SAMPLES),
        where=("optimizer, its weight decay",),
    ),
    Mutant(
        "another decay of the moments",
        "optimizer-hyperparameter",
        TRAINING,
        (("lr=settings.learning_rate", "lr=settings.learning_rate, betas=(0.5, 0.999)"),),
        ("training_state",),
        where=("optimizer, its momentum",),
    ),
)

EQUIVALENT = (
    ("gradient of the wrong sign", "images go down the gradient"),
    (
        "energies averaged before the gradient",
        "the step times the batch size",
        "the gradient clip over the batch size",
    ),
)
"""Mutants that together are the reference's program again; asserted to be green."""

LEFT_OUT = "a layer left out"
ACTIVATION_CHANGES = ("swish to relu", "swish to gelu")
RAISING = (
    "requires_grad never set",
    "requires_grad set on a non-leaf",
    "the gradient under no_grad",
)

INTERACTIONS = (
    Interaction(
        ("no flatten permutation", LEFT_OUT),
        "without the first dense layer, the feature map is flattened for the score",
        gone=(("flatten-order", "dense1"),),
        more=(("flatten-order", "score"),),
    ),
    *(
        Interaction(
            (change, LEFT_OUT),
            "the activations before and after the layer that is missing belong to no segment",
            gone=tuple(("activation", f"{layer}, its activation") for layer in LAYERS[-2:]),
        )
        for change in ACTIVATION_CHANGES
    ),
    *(
        Interaction(
            (padding, "the last stride left out"),
            "SAME of a kernel of 3 without a stride is (1, 1), so that this padding is right",
            gone=(("padding-same", "conv4"),),
        )
        for padding in ("padding 1 everywhere", "padding k // 2")
    ),
    Interaction(
        ("activations cut off from the graph", LEFT_OUT),
        "there are no segments to and from the layer that is missing",
        gone=tuple(("gradient-not-tracked", where) for where in CUT_OFF[-2:]),
    ),
    Interaction(
        ("dense kernels reshaped, not transposed", LEFT_OUT),
        "the kernel that shows it is that of the layer that is missing",
        gone=(("dense-layout", "dense1"),),
    ),
    Interaction(
        ("a seeded generator made in each call", "noise drawn and thrown away"),
        "what the sampler returns holds no noise: that it draws the same shows in training",
        gone=(("noise-seeded", "generate_samples, the noise"),),
        more=(("noise-seeded", "train_step, the noise"),),
    ),
    Interaction(
        ("noise added after the update", "first clip dropped"),
        "where the noise comes after the update, the clip after the noise is the last one",
        gone=(("clip-missing", *FIRST_CLIP),),
        more=(("clip-missing", *LAST_CLIP),),
    ),
    Interaction(
        ("requires_grad never set", "the gradient under no_grad"),
        "with gradients off nothing requires them, whether it was asked for or not",
        gone=(("gradient-not-tracked", "generate_samples"),),
    ),
    *(
        Interaction(
            (raising, "parameters left frozen"),
            "what a sampler leaves behind shows where it returns; with parameters frozen too, it "
            "only raises in other words",
            gone=(("parameters-left-frozen", "generate_samples"),),
        )
        for raising in RAISING
    ),
    Interaction(
        ("gradient clipped by norm", "the last result carries a graph"),
        "a gradient clipped in place raises in other words, which alone do not say that a graph "
        "was left",
        gone=(("state-not-detached", "train_step"),),
    ),
    Interaction(
        ("the last result carries a graph", "gradients of the last step kept"),
        "the second step, in which gradients of the first would show, raises",
        gone=(("gradient-accumulated", "train_step"),),
    ),
    Interaction(
        ("the last result carries a graph", "oldest samples kept"),
        "it takes two steps to fill the buffer, and the second raises",
        gone=(("buffer-size", *KEPT),),
    ),
    Interaction(
        (LEFT_OUT, "torch's initial weights"),
        "fresh weights are compared by name, and a port that lacks one cannot be matched",
        gone=(("initializer", "model()"),),
    ),
    *(
        Interaction(
            (raising, "validation through a training buffer"),
            "a validation that samples raises as the sampler does, before it evaluates an image",
            gone=(("validation-data", "validate"),),
        )
        for raising in RAISING
    ),
)
"""What mutants show together and not alone, and why that is right; asserted like the rest."""

MUTANTS = interacting(MUTANTS, INTERACTIONS)
