"""CIFAR-10: the paper's experiment on 5,000 real images.

cifar10:cpu         2 cores, under 100 minutes, with the generator that comes with tfpdu
cifar10:imbalanced  the same on the paper's 4,000 images at 80/20 vehicles and animals
cifar10:plain       the paper's 2,959 animals and 2,041 vehicles
cifar10:transfer    the same from ImageNet weights (a file of `tfpdu convert`), at 64 pixels
cifar10:public      the generator of the public pool at length: tfpdu train --config=cifar10:public --directory=...
cifar10:gpu         full scale; so are cifar10:imbalanced:gpu, cifar10:plain:gpu and cifar10:transfer:gpu
"""

from ml_collections import ConfigDict
from tfpdu_configs import digits

VARIANTS = ("cpu", "imbalanced", "plain", "transfer", "public", "gpu")


def get_config(variant: str = "cpu") -> ConfigDict:
    name, _, scale = variant.partition(":")
    if name not in VARIANTS or scale not in ("", "gpu") or (scale and name in ("public", "gpu")):
        raise ValueError(f"cifar10: unknown variant {variant!r}; known: {', '.join(VARIANTS)}, and with :gpu")
    config = digits.get_config()
    config.data.name = "cifar10"
    config.data.attributes = ("superclass",)
    config.pools = ConfigDict(
        dict(
            private=10000,
            non_members_calibration=2000,
            non_members_evaluation=4000,
            auxiliary=4000,
            public=30000,
            test="official",
        )
    )
    config.draw.rows = 5000
    config.draw.attribute = ""
    config.prior.over = (("superclass",),)
    config.views = ConfigDict(dict(count=10, flip=True, shift=4, cutout=0))
    config.generator.lineage = "public"
    config.generator.pretrained = "cifar10"  # made by cifar10:public; empty: the run trains its own, 500,000 images
    config.generator.floor = 0.4
    config.generator.images = 500_000
    config.generator.widths = (48, 96, 128)
    config.generator.fold = 2
    config.generator.embedding = 192
    config.generator.flip = True
    config.generator.learning_rate = 2e-3
    config.generator.optimiser = "muon"
    config.generator.schedule = "rsqrt"  # a training can be taken up again for more images
    config.generator.decay_images = 300_000
    config.generator.ema = 0.05
    config.generator.precision = "mixed_bfloat16"
    config.generator.steps = 12
    config.generator.sample_batch = 256  # a fifth faster than 64
    config.generator.guidance = 1.0  # with candidates as good as more, and faster
    config.generator.min_cell = 20
    config.generator.candidates = 4
    config.generator.critics = ("label",)
    config.generator.critic_images = 600_000
    config.generator.critic_widths = (64, 128, 256)
    config.ensemble.stem = "imagenet"
    config.ensemble.width = 64
    config.ensemble.epochs = 15
    config.ensemble.batch = 64
    config.ensemble.slices = 2  # as accurate as whole shards, for half the cost: docs/unlearning.md
    config.ensemble.slice_order = "forget"
    config.judge.epochs = 12
    config.generator.gate_rows = 2000
    config.audit.rows = 500
    config.audit.full_rows = 1000
    if name == "imbalanced":
        config.draw.rows = 4000
        config.draw.attribute = "superclass"
        config.draw.values = ("animal", "vehicle")
        config.draw.shares = (0.2, 0.8)
    elif name == "plain":
        config.draw.attribute = "superclass"
        config.draw.values = ("animal", "vehicle")
        config.draw.shares = (2959, 2041)
    elif name == "public":
        config.generator.images = 6_000_000
    elif name == "transfer":
        config.ensemble.stem = "torchvision"
        config.ensemble.initial = "resnet18_imagenet.weights.h5"
        config.ensemble.image_upscale = 2
        config.ensemble.freeze = 2  # better than 0 on 2,500 rows, and faster
        config.ensemble.epochs = 5
        config.ensemble.slices = 1
        config.ensemble.slice_order = "even"
        config.ensemble.learning_rate = 0.02
        config.ensemble.precision = "mixed_bfloat16"
    if "gpu" in (name, scale):
        config.generator.images = 20_000_000
        config.generator.pretrained = ""
        if name == "transfer":
            config.ensemble.image_upscale = 4
            config.ensemble.epochs = 15
        else:
            config.ensemble.stem = "cifar"
    return config
