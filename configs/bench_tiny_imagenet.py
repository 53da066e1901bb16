"""Unlearning methods on 20 classes of Tiny ImageNet at 32 pixels, from an .npz of images, labels and names.

bench_tiny_imagenet:cpu   --config.data.directory=tiny_imagenet32_20x200.npz; 2 cores
"""

from ml_collections import ConfigDict
from tfpdu_configs import bench_cifar10


def get_config(variant: str = "cpu") -> ConfigDict:
    if variant != "cpu":
        raise ValueError(f"bench_tiny_imagenet: unknown variant {variant!r}; known: cpu")
    config = bench_cifar10.get_config("cpu")
    config.data.name = "npz"
    config.data.attributes = ()
    config.pools = ConfigDict(
        dict(
            private=0.5, non_members_calibration=0.1, non_members_evaluation=0.15, auxiliary=0.1, public=0.0, test=0.15
        )
    )
    config.bench.rows = 2000
    config.bench.scenarios = ("random:0.1",)
    config.bench.held_out = 600
    config.bench.population = 400
    config.bench.robust_rows = 200
    config.bench.audit_rows = 150
    return config
