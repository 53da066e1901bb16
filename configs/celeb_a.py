"""CelebA at 64 x 64: Smiling is learned, Young and Male are the attributes; identities stay together.

celeb_a:cpu  2 cores
celeb_a:gpu  full scale, on the whole data set
"""

from ml_collections import ConfigDict
from tfpdu_configs import digits


def get_config(variant: str = "cpu") -> ConfigDict:
    config = digits.get_config()
    config.data.name = "celeb_a"
    config.data.attributes = ("Young", "Male")
    config.data.target = "Smiling"
    config.data.image_size = 64
    config.pools = ConfigDict(
        dict(
            private=0.4, non_members_calibration=0.1, non_members_evaluation=0.15, auxiliary=0.15, public=0.0, test=0.2
        )
    )
    config.draw.rows = 2000
    config.draw.attribute = ""
    config.prior.over = (("Young", "Male"),)
    config.views = ConfigDict(dict(count=10, flip=True, shift=6, cutout=0))
    config.generator.lineage = "keep"
    config.generator.floor = 0.6
    config.generator.images = 500_000
    config.generator.widths = (64, 96, 160)
    config.generator.fold = 4
    config.generator.embedding = 192
    config.generator.flip = True
    config.generator.learning_rate = 2e-3
    config.generator.optimiser = "muon"
    config.generator.schedule = "rsqrt"
    config.generator.decay_images = 300_000
    config.generator.ema = 0.05
    config.generator.steps = 12
    config.generator.precision = "mixed_bfloat16"
    config.generator.guidance = 2.0  # the judge sees what was asked for more often than with 1.0
    config.generator.min_cell = 20
    config.ensemble.stem = "imagenet"
    config.ensemble.width = 24  # of 64: with 2,000 rows, many steps of a narrow network beat a few of a wide one
    config.ensemble.epochs = 15
    config.ensemble.batch = 32
    config.judge.epochs = 25
    config.generator.gate_rows = 1000
    config.audit.rows = 250
    config.audit.full_rows = 400
    config.report.originals = False  # CelebA's pictures may not be passed on
    if variant == "gpu":
        config.draw.rows = 20_000
        config.generator.images = 20_000_000
        config.ensemble.width = 64
        config.audit.rows, config.audit.full_rows = 500, 1000
    elif variant != "cpu":
        raise ValueError(f"celeb_a: unknown variant {variant!r}; known: cpu, gpu")
    return config
