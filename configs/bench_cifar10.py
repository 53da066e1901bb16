"""Unlearning methods on CIFAR-10, forgetting a random 10 % and all automobiles.

bench_cifar10:cpu    5,000 images at 32 pixels, ImageNet stem, 2 cores: under 75 minutes a seed
bench_cifar10:study  all scenarios on the same models: one class, requests in a row, no retained rows, confusion, ...
bench_cifar10:paper  the full recipe of the AMUN paper, for a GPU

Start from ImageNet weights with --config.bench.initial=resnet18.npz: 5,000 images alone teach little.
"""

from ml_collections import ConfigDict
from tfpdu_configs import bench_digits, cifar10

_DESCENDING = ("fine_tune", "fine_tune_anchored", "random_labels", "l1_sparse", "salun", "amun", "stackelberg")


def get_config(variant: str = "cpu") -> ConfigDict:
    config = bench_digits.get_config()
    run = cifar10.get_config()
    config.data = run.data
    config.pools = run.pools
    config.views = run.views
    config.bench.rows = 5000
    config.bench.scenarios = ("random:0.1", "class:automobile")
    config.bench.seeds = (0, 1, 2)
    config.bench.backbone = "resnet18"
    config.bench.options = ConfigDict(dict(stem="torchvision", width=64))
    config.bench.references = 8
    config.bench.held_out = 2000
    config.bench.population = 1000
    config.bench.robust_rows = 500
    config.bench.robust_attacks = ("fgsm", "pgd_linf", "pgd_l2", "square")
    config.bench.audit_rows = 250
    config.training.epochs = 15
    config.training.batch = 64
    config.training.learning_rate = 0.02
    # A third of retraining's epochs; the ends of "restarts" are at 1, 3, 7, 15 epochs.
    config.recipes = ConfigDict({name: dict(epochs=5) for name in _DESCENDING})
    config.recipes.eu_k = dict(epochs=15)
    config.recipes.cf_k = dict(epochs=7)
    config.recipes.influence = dict(iterations=5)
    config.recipes.woodfisher = dict(samples=500)

    if variant == "study":
        config.bench.scenarios = (
            "random:0.5",
            "group:superclass=vehicle:0.1",
            "successive:5x0.02",
            "no_retain:0.1",
            "confusion:cat-dog:0.5",
            "worst:0.1",
        )
        config.bench.seeds = (0,)
    elif variant == "paper":
        config.pools = ConfigDict(
            dict(
                private=40000,
                non_members_calibration=2000,
                non_members_evaluation=4000,
                auxiliary=4000,
                public=0,
                test="official",
            )
        )
        config.bench.rows = 40000
        config.bench.held_out = 4000
        config.bench.population = 2000
        config.bench.scenarios = ("random:0.1", "random:0.5", "class:automobile", "successive:5x0.02")
        config.bench.options = ConfigDict(dict(stem="cifar", width=64))
        config.bench.references = 64
        config.training.epochs = 200
        config.training.batch = 128
        config.training.learning_rate = 0.1
        config.training.schedule = "step"
        config.training.step_epochs = 40
        config.recipes = ConfigDict()  # the papers' epochs
    elif variant != "cpu":
        raise ValueError(f"bench_cifar10: unknown variant {variant!r}; known: cpu, study, paper")
    return config
