"""Unlearning methods on scikit-learn's digits: 2 to 3 minutes on 2 cores.

bench_digits        random 10 % and one class
bench_digits:all    every kind of scenario that digits allow
"""

from ml_collections import ConfigDict
from tfpdu_configs import digits


def get_config(variant: str = "") -> ConfigDict:
    base = digits.get_config()
    config = ConfigDict()
    config.data = base.data
    config.pools = ConfigDict(
        dict(
            private=0.4,
            non_members_calibration=0.12,
            non_members_evaluation=0.15,
            auxiliary=0.15,
            public=0.0,
            test=0.18,
        )
    )
    config.views = base.views

    config.bench = ConfigDict()
    config.bench.rows = 700  # training rows
    config.bench.scenarios = ("random:0.1", "class:3")
    config.bench.methods = (
        "retrain",
        "retrain_again",
        "sharded",
        "fine_tune",
        "fine_tune_anchored",
        "gradient_ascent",
        "random_labels",
        "boundary_shrink",
        "l1_sparse",
        "salun",
        "scrub",
        "eu_k",
        "cf_k",
        "amun",
        "influence",
        "woodfisher",
        "stackelberg",
        "zero_shot",
    )
    config.bench.seeds = (0,)  # more for a spread: --config.bench.seeds="(0, 1, 2)"
    config.bench.backbone = "cnn"  # cnn | resnet18 | resnet50 | small_vit | package.module:function, seed -> model
    config.bench.options = ConfigDict()  # of the backbone's builder, such as stem and width
    config.bench.initial = ""  # ImageNet weights of a ResNet18, an .npz file
    config.bench.references = 4  # models for RMIA, in pairs; 0: no RMIA
    config.bench.held_out = 2000  # non-members that forgotten rows are compared with, at most
    config.bench.population = 1000  # non-members that RMIA compares each row with, at most
    config.bench.robust_rows = 100  # of forget, retain and test each, under attack; 0: none
    config.bench.robust_attacks = ("fgsm",)  # of fgsm, pgd_linf, pgd_l2, square; one step, for the sake of time
    config.bench.audit_rows = 100  # a role, of M-Loss and Moments
    config.bench.threads = 2

    # Of originals, references and retrained models.
    config.training = ConfigDict(dict(epochs=12, learning_rate=0.05, batch=32, weight_decay=5e-4, schedule="cosine"))

    # Settings of methods, by name or by "name@scenario".
    config.recipes = ConfigDict(
        dict(
            sharded=dict(shards=3),  # of 700 rows five shards would learn too little
            eu_k=dict(epochs=24),
            cf_k=dict(epochs=12),
            influence=dict(iterations=15),
            woodfisher=dict(samples=250),
            stackelberg=dict(epochs=15),
        )
    )

    if variant == "all":
        config.bench.scenarios = (
            "random:0.1",
            "random:0.5",
            "class:3",
            "group:parity=even:0.1",
            "successive:5x0.02",
            "no_retain:0.1",
            "confusion:3-5:0.5",
            "worst:0.1",
        )
    elif variant:
        raise ValueError(f"bench_digits: unknown variant {variant!r}; known: all")
    return config
