"""Attacks on a differentially private classifier, to stand beside Figure 12.

    python benchmarks/private_classifier.py --config=cifar10:transfer --output=docs/results/private_classifier.json \
      --config.ensemble.initial=resnet18_imagenet.weights.h5
    python benchmarks/private_classifier.py --output=docs/results/private_classifier.json --summary

For each seed S is drawn, and a linear head on features of the network that `config.ensemble.initial` names is learned
from it by DP-SGD, for several epsilon and without noise, all else equal. Test accuracy and the three attacks of Figure
12 on all of S, while all of it is in the model: what (epsilon, delta) leaves an attack holds for every row, before and
after any deletion.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from absl import flags

from tfpdu.cli import app
from tfpdu.common import files, say
from tfpdu.common.errors import UserError
from tfpdu.common.intervals import student

ATTACKS = ("moments", "m_mean", "m_loss")
DELTA = 1e-5


class Features:
    """Frozen features of pictures, each batch of them computed once.

    They are standardised by rows that are not in S: what a network of rectifiers gives lies nearly in one direction,
    along which classes do not differ.

    Args:
      settings: of a run; `ensemble.initial` names the weights.
      others: uint8[m, h, w, c], of the auxiliary pool.
    """

    def __init__(self, settings: Any, others: np.ndarray):
        from tfpdu.ensemble.resnet import build_resnet18
        from tfpdu.ensemble.transfer import read_initial

        ensemble = settings.ensemble
        if not ensemble.initial:
            raise UserError("--config.ensemble.initial: expected weights that no row of S has trained")
        weights = read_initial(ensemble.initial)
        model = build_resnet18(
            others.shape[1:], 2, ensemble.stem, ensemble.width, 0, weights, ensemble.image_upscale, ensemble.precision
        )
        self._model = keras.Model(model.input, model.get_layer("pool").output)
        self._known: dict[str, np.ndarray] = {}
        self._mean, self._scale = 0.0, 1.0
        seen = self(others)
        self._mean, self._scale = seen.mean(0), np.maximum(seen.std(0), 1e-6)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """float32[n, d] of uint8[n, h, w, c]."""
        from tfpdu.ensemble.networks import answers

        name = files.array_hash(images)
        if name not in self._known:
            self._known[name] = answers(self._model, images)
        return (self._known[name] - self._mean) / self._scale


def trial(settings: Any, seed: int, epsilons: Sequence[float]) -> list[dict[str, Any]]:
    """A line for each epsilon, 0 for none: accuracy, and success and AUC of each attack."""
    from tfpdu.audit import AuditSettings, audit_members
    from tfpdu.data.views import render
    from tfpdu.diffusion.private import PrivateSettings
    from tfpdu.experiments.private_head import PrivateHeadSettings, learn_private_head, most_success
    from tfpdu.material import gather

    settings = dataclasses.replace(settings, seed=seed)
    material = gather(settings)
    drawn, pools, views = material.drawn, material.pools, settings.views
    extract = Features(settings, pools.auxiliary.images)
    seen = [extract(render(drawn.images, drawn.ids, v, views, seed)) for v in range(views.count)]
    features = np.stack(seen, axis=1)  # [n, V, d]
    lines = []
    for epsilon in epsilons:
        how = PrivateHeadSettings(PrivateSettings(epsilon=epsilon, delta=DELTA), batch=len(drawn) // 10)
        head = learn_private_head(features, drawn.labels, drawn.classes, drawn.ids.tolist(), how, f"seed {seed}")
        test = head.probabilities(extract(pools.test.images)).argmax(1) == pools.test.labels
        rows = audit_members(
            lambda images, head=head: head.probabilities(extract(images)),
            {"all_originals": drawn},
            pools.non_members_calibration,
            pools.non_members_evaluation,
            policy=views,
            seed=seed,
            settings=AuditSettings(rows=settings.full_audit.rows, attacks=ATTACKS),
        )
        keys = ("success_rate", "ci_low", "ci_high", "auc")
        lines.append(
            {
                **{"seed": seed, "rows": len(drawn), "epsilon": epsilon, "test_accuracy": float(test.mean())},
                "spent": None if head.privacy is None else dataclasses.asdict(head.privacy),
                "most_success": most_success(epsilon, DELTA) if epsilon else 1.0,
                "attacks": {row["attack"]: {key: row[key] for key in keys} for row in rows},
            }
        )
        say(f"seed {seed}, epsilon {epsilon or 'none'}: test accuracy {lines[-1]['test_accuracy']:.3f}")
    return lines


def table(result: dict[str, Any]) -> list[str]:
    """Markdown: means over seeds with Student's 95 % interval."""
    heads = ("epsilon", "test accuracy", "Moments", "M-Mean", "M-Loss", "no attack can exceed")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for epsilon in dict.fromkeys(line["epsilon"] for line in result["lines"]):
        own = [line for line in result["lines"] if line["epsilon"] == epsilon]
        cells = [f"{epsilon:g}" if epsilon else "no noise", _mean([line["test_accuracy"] for line in own])]
        cells += [_mean([line["attacks"][attack]["success_rate"] for line in own]) for attack in ATTACKS]
        cells.append(f"{100 * own[0]['most_success']:.1f} %" if epsilon else "–")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _mean(values: Sequence[float]) -> str:
    shown = f"{100 * np.mean(values):.1f} %"
    return shown if len(values) < 2 else f"{shown} ± {100 * student(values)[1]:.1f}"


def _main(argv: Sequence[str]) -> None:
    del argv
    values = flags.FLAGS
    output = app.json_path(values.output)
    if values.summary:
        if output is None:
            raise UserError("--output: expected the file whose table is wanted")
        print("\n".join(table(files.read_json(output))))
        return
    from tfpdu.common.determinism import configure
    from tfpdu.common.machine import machine
    from tfpdu.settings import Settings

    config = app.as_dict(values.config)
    settings = Settings.from_config(config)
    configure(settings.ensemble.threads)
    epsilons = [float(word) for word in values.epsilons]
    lines = [line for word in values.seeds for line in trial(settings, int(word), epsilons)]
    result = {"config": config, "machine": machine(), "lines": lines}
    if output:
        files.write_json(output, result)
    print("\n".join(table(result)))


if __name__ == "__main__":  # not where tests import it: other commands have flags of the same names
    app.define_config("cifar10:transfer")
    flags.DEFINE_string("output", "", "the result, a .json file")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "of S, of its views and of the noise")
    flags.DEFINE_list("epsilons", ["1", "3", "8", "0"], "0: without noise")
    flags.DEFINE_bool("summary", False, "print the table of --output, and measure nothing")
    app.run(_main)
