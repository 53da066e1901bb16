"""Every attack on a model that knows its rows by heart, and on rows that it never saw.

    python benchmarks/overfitted.py --directory=runs/overfitted --output=docs/results/overfitted.json
    python benchmarks/overfitted.py --output=docs/results/overfitted.json --summary

A ResNet18 learns its rows without augmentation until it has all of them right (or this ends with an error: more
--config.training.epochs). Reference models, in pairs that part all rows between them, learn as long. The audits:

members   the model's own rows
null      held-out rows that pose as members: nothing may be found
shards    an ensemble on the same rows, with its own other shards as reference models
true      the same ensemble, with reference models that never saw the row, for each row as many as shards less 1

Models are kept in --directory, and the same command goes on where it was killed.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from tfpdu.cli import app
from tfpdu.common import files, say
from tfpdu.common.errors import UserError

ATTACKS = ("blind", "m_loss", "m_mean", "moments", "lira_offline", "lira_online", "rmia_offline", "rmia_online")
OF_SHARDS = ("m_loss", "lira_offline", "rmia_offline")


class Overfitted:
    """The rows, and the models that learn them without augmentation.

    Args:
      config: of a benchmark.
      directory: exists.
      shards: of the ensemble.
    """

    def __init__(self, config: dict[str, Any], directory: Path, shards: int):
        from tfpdu.common.determinism import configure
        from tfpdu.data import PoolSizes, cut_pools, load
        from tfpdu.unlearning.benchmark import BenchmarkSettings, Models, Tables

        settings = BenchmarkSettings.from_config(config)
        configure(settings.threads)
        # Twice the held-out rows, since half of them pose as members; as many references without a row as with it.
        self.settings = dataclasses.replace(
            settings,
            training=dataclasses.replace(settings.training, views=None),
            held_out=2 * settings.held_out,
            references=2 * (shards - 1),
        )
        pools = cut_pools(load(**config["data"], home=directory), PoolSizes(**config["pools"]), 0)
        self.tables = Tables.of(pools, self.settings)
        self.models, self.shards = Models(self.settings, self.tables, directory), shards

    def target(self) -> Any:
        """The model that has all rows right.

        Raises:
          UserError: it has not.
        """
        from tfpdu.unlearning.benchmark.measures import Asked

        train = self.tables.train
        asked = Asked(self.models.original(0, train.labels), train.images.shape[1:])
        right = float((asked.logits(train.images).argmax(1) == train.labels).mean())
        say(f"the model has {100 * right:.2f} % of its training rows right")
        if right < 1:
            raise UserError(
                f"--config.training.epochs={self.settings.training.epochs}: {100 * right:.2f} % of the training rows"
                " are right, expected all; train longer, in another --directory"
            )
        return asked

    def ensemble(self) -> Any:
        """Shard models on the same rows: (committee's members, shard of each training row)."""
        from tfpdu.unlearning.benchmark.models import examples
        from tfpdu.unlearning.benchmark.sharded import ShardedSettings, shards_of

        training = self.settings.training
        values = {field.name: getattr(training, field.name) for field in dataclasses.fields(training)}
        options = ShardedSettings(**values, shards=self.shards)
        train = self.tables.train
        committee = self.models.committee(0, train.labels, options)
        return committee.members, shards_of(examples(train), self.shards)


def measure(study: Overfitted, rows: int) -> dict[str, Any]:
    """All audits."""
    from tfpdu.audit import Extras, references_from_shards
    from tfpdu.ensemble.aggregate import softmax
    from tfpdu.unlearning.benchmark.measures import Asked

    tables = study.tables
    target = study.target()
    asked, references = study.models.references()
    places = {row_id: i for i, row_id in enumerate(asked.ids.tolist())}

    def true(records: Any) -> Any:
        return references[np.array([places[row_id] for row_id in records.ids.tolist()])]

    half = np.arange(len(tables.held_out)) % 2 == 0
    posing, others = tables.held_out.take(half), tables.held_out.take(~half)
    extras = Extras(references=true)
    audit = _auditor(study, rows)
    found = {
        "members": audit(target.probabilities, tables.train, others, ATTACKS, extras),
        "null": audit(target.probabilities, posing, others, ATTACKS, extras),
    }
    members, shard = study.ensemble()
    each = [Asked(member, tables.train.images.shape[1:]) for member in members]

    def of_shards(images: Any) -> np.ndarray:
        return np.stack([softmax(one.logits(images)) for one in each])  # [k, n, C]

    def mean(images: Any) -> np.ndarray:
        return np.asarray(of_shards(images).mean(0))

    homes = dict(zip(tables.train.ids.tolist(), shard.tolist(), strict=True))
    own = Extras(references=references_from_shards(of_shards, homes, 0))
    found["shards"] = audit(mean, tables.train, others, OF_SHARDS, own)
    found["true"] = audit(mean, tables.train, others, OF_SHARDS, extras)
    accuracy = {
        "train_accuracy": float((target.logits(tables.train.images).argmax(1) == tables.train.labels).mean()),
        "test_accuracy": float((target.logits(tables.test.images).argmax(1) == tables.test.labels).mean()),
        "ensemble_test_accuracy": float((mean(tables.test.images).argmax(1) == tables.test.labels).mean()),
    }
    return {**accuracy, "references": study.settings.references, "audits": found}


def _auditor(study: Overfitted, rows: int) -> Callable[..., list[dict[str, Any]]]:
    from tfpdu.audit import AuditSettings, audit_members

    def audit(predict: Any, members: Any, others: Any, attacks: Any, extras: Any) -> list[dict[str, Any]]:
        settings = AuditSettings(rows=rows, attacks=attacks, fprs=(0.1, 0.01, 0.001))
        return audit_members(
            predict,
            {"members": members},
            study.tables.population,
            others,
            policy=study.settings.views,
            seed=0,
            settings=settings,
            extras=extras,
        )

    return audit


def table(result: dict[str, Any]) -> list[str]:
    """Markdown."""
    lines = ["| audit | attack | success | AUC | TPR at 1 % FPR | p (Holm) |", "|---|---|---|---|---|---|"]
    for name, rows in result["audits"].items():
        for row in rows:
            rate = row["tpr_at_fpr"]["0.01"]
            cells = [
                name,
                row["attack"],
                f"{100 * row['success_rate']:.1f} % ({100 * row['ci_low']:.1f} to {100 * row['ci_high']:.1f})",
                f"{row['auc']:.3f} ({row['auc_ci_low']:.3f} to {row['auc_ci_high']:.3f})",
                "unresolvable" if rate is None else f"{100 * rate:.1f} %",
                "" if row["p_holm"] is None else f"{row['p_holm']:.2g}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _main(argv: Any) -> None:
    del argv
    values = flags.FLAGS
    output = app.json_path(values.output)
    if values.summary:
        if output is None:
            raise UserError("--output: expected the file whose table is wanted")
        print("\n".join(table(files.read_json(output))))
        return
    from tfpdu.common.machine import processor
    from tfpdu.common.run_directory import RunDirectory

    config = app.as_dict(values.config)
    run = RunDirectory(values.directory, {**config, "shards": values.shards})
    with run.lock():
        result = measure(Overfitted(config, run.path, values.shards), values.rows)
    if output:
        files.write_json(output, {"config": config, "processor": processor(), **result})
    print("\n".join(table(result)))


if __name__ == "__main__":  # not where tests import it: other commands have flags of the same names
    app.define_config("bench_cifar10")
    flags.DEFINE_string("directory", "runs/overfitted", "where models are kept")
    flags.DEFINE_string("output", "", "the result, a .json file")
    flags.DEFINE_integer("rows", 1000, "a role, of members and of non-members", lower_bound=10)
    flags.DEFINE_integer("shards", 5, "of the ensemble; as many pairs of reference models less 1", lower_bound=3)
    flags.DEFINE_bool("summary", False, "print the table of --output, and measure nothing")
    app.run(_main)
