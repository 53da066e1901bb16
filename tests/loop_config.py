"""A run of Algorithm 2 on digits, small enough for a test: seconds, not minutes."""

from typing import Any

from tfpdu_configs import digits


def tiny_config(**overrides: Any) -> dict[str, Any]:
    """The digits preset cut down; overrides are dotted paths with __ for a dot, e.g. loop__iterations=3."""
    config = digits.get_config()
    config.pools.private = 0.3
    config.draw.rows = 100
    config.generator.images = 512
    config.generator.batch = 64
    config.generator.steps = 4
    config.generator.checkpoint_images = 256
    config.generator.widths = (32,)
    config.generator.fold = 1
    config.generator.embedding = 32
    config.generator.floor = 0.0
    config.generator.gate_rows = 40
    config.augment.max_redraws = 1
    config.ensemble.width = 8
    config.ensemble.epochs = 2
    config.judge.epochs = 3
    config.loop.iterations = 2
    config.loop.capacity = 0.5
    config.audit.protocols = ("holdout",)
    config.audit.attacks = ("m_loss", "m_mean")
    config.audit.rows = 20
    config.audit.full_rows = 24
    config.audit.tensorflow_privacy = ()
    for path, value in overrides.items():
        node = config
        *parents, leaf = path.split("__")
        for parent in parents:
            node = node[parent]
        node[leaf] = value
    return config.to_dict()
