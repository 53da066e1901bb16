"""The config of one's own pictures as a commented Python file, a small diff to the digits preset."""

import json
from pathlib import Path
from typing import Any

from tfpdu.own_data.choices import MIN_CELL, RARE, Choices
from tfpdu.own_data.inspection import Findings
from tfpdu.own_data.request import Request

Line = tuple[str, Any, str]  # key, value, comment

WIDTH = 120  # of a line

_GENERATORS = {  # by side: widths, fold, embedding, images
    16: ((24, 32), 1, 96, 200_000),
    32: ((48, 96, 128), 2, 192, 500_000),
    64: ((64, 96, 160), 4, 192, 500_000),
}
_LARGE: tuple[Line, ...] = (  # for networks of 32 and 64 pixels: what CIFAR-10's and CelebA's presets have
    ("generator.optimiser", "muon", "learns more from an image than adam in all but tiny networks"),
    ("generator.learning_rate", 2e-3, "of muon"),
    ("generator.schedule", "rsqrt", "without an end: ask for more images, and training goes on from there"),
    ("generator.decay_images", 300_000, "images after which the learning rate falls"),
    ("generator.ema", 0.05, "half-life of the averaged weights: share of the images seen so far"),
    ("generator.precision", "mixed_bfloat16", "faster where the processor has it; else float32"),
    ("generator.steps", 12, "of the sampler"),
)


def config_text(request: Request, findings: Findings, choices: Choices, home: Path) -> str:
    """The file's text.

    Args:
      request: what was asked for.
      findings: in the data.
      choices: sizes that fit them.
      home: the folder that the config and its table will be in.
    """
    sections = [
        ("the data", _data(request, findings, home)),
        ("disjoint pools, as shares of all rows: who is learned, who audits, who tests", _pools(findings, choices)),
        ("what is balanced, and how", _balance(choices)),
        ("the generator, with augment.method = diffusion", _generator(findings, choices)),
        ("the classifiers", _ensemble(findings, choices)),
        ("forgetting, and what is measured", _loop(choices)),
    ]
    lines = [
        f'"""{_plain(home.name)}: {_plain(request.label)} from {len(findings.records)} pictures,'
        f" balanced over {_plain(', '.join(c.name for c in findings.columns.sensitive))}.",
        "",
        "Written by `tfpdu init`; change what you like. Any value is also a flag: --config.loop.iterations=5.",
        '"""',
        "",
        "from ml_collections import ConfigDict",
        "from tfpdu_configs import digits",
        "",
        "",
        "def get_config() -> ConfigDict:",
        "    config = digits.get_config()  # every value there is, with what it means",
    ]
    for title, body in sections:
        lines += ["", f"    # {title[0].upper()}{title[1:]}"]
        for key, value, comment in body:
            line = f"    config.{key} = {_literal(value)}"
            if len(line) + len(comment) + 4 <= WIDTH:
                lines.append(f"{line}  # {_plain(comment)}")
            else:
                lines += [f"    # {part}" for part in _wrapped(comment)] + [line]
    return "\n".join([*lines, "    return config", ""])


def _data(request: Request, findings: Findings, home: Path) -> list[Line]:
    columns = findings.columns
    person = "column of the person, who is never split between learning, auditing and testing"
    if not columns.subject:
        person = "no column of the person: if somebody is on several pictures, name one with --subject"
    elif not request.subject:
        person = "nobody is named, so near copies of a picture are kept together as if they were of one person"
    sensitive = ", ".join(request.sensitive)
    return [
        ("data.name", "image_folder", "pictures in a folder, and a table"),
        ("data.directory", str(request.images.resolve()), "the folder; change it when you move it"),
        ("data.table", str(home.resolve() / "table.csv"), "the usable rows of your table; problems.csv has the others"),
        ("data.label", request.label, "the column that is learned"),
        ("data.attributes", tuple(request.sensitive), f"groups by {sensitive}: name:30,60 are edges, name:q3 thirds"),
        ("data.subject", columns.subject, person),
        ("data.image_size", findings.side, "pixels a side: the largest of 16, 32, 64 that half of the pictures have"),
    ]


def _pools(findings: Findings, choices: Choices) -> list[Line]:
    private, calibration, evaluation, auxiliary, test = choices.pools
    every = "all of them" if choices.rows < 5000 else "as many as 2 cores learn in an hour or two"
    return [
        ("pools.private", private, "what S is drawn from: members, learned and then forgotten"),
        ("pools.non_members_calibration", calibration, "never learned: attacks are calibrated on them"),
        ("pools.non_members_evaluation", evaluation, "never learned: attacks are measured on them"),
        ("pools.auxiliary", auxiliary, "a judge of samples learns them"),
        ("pools.public", 0.0, "for generator.lineage = public: rows that may be remembered"),
        ("pools.test", test, "accuracy and group fairness are measured on them, nothing is chosen by them"),
        ("draw.rows", choices.rows, f"|S|, rows of the private pool: {every}"),
        ("draw.attribute", "", "S is drawn as the data are, with their bias"),
    ]


def _balance(choices: Choices) -> list[Line]:
    shape = (
        "their joint, cell by cell"
        if len(choices.over[0]) > 1
        else "each by itself, since some joint cells are too small"
    )
    if len(choices.over) == 1 and len(choices.over[0]) == 1:
        shape = "the one that there is"
    lines: list[Line] = [("prior.over", choices.over, f"what is balanced: {shape}")]
    if choices.given:
        rare = ", ".join(choices.rare)
        told = f"{rare}: fewer than {RARE} rows to learn from, so it keeps its share; all others get equal ones"
        lines += [("prior.kind", "given", "shares as stated below"), ("prior.given", choices.given, told)]
    else:
        lines.append(("prior.kind", "uniform", "every group equally often; given: your own shares"))
    what = {
        "diffusion": f"samples of a generator: {choices.reason}",
        "oversample": f"copies of rows, no generator: {choices.reason}",
        "reweigh": f"weights for rows, no generator: {choices.reason}",
    }
    return [
        *lines,
        ("augment.method", choices.method, what[choices.method]),
        ("augment.rho", choices.rho, "nats of bias that may be left: what whole rows permit"),
    ]


def _generator(findings: Findings, choices: Choices) -> list[Line]:
    widths, fold, embedding, images = _GENERATORS[findings.side]
    return [
        (
            "generator.lineage",
            "keep",
            "keep: it learns S, and its samples may carry traces of forgotten rows; public: it learns only"
            " pools.public, which then needs a share; strict: it is made anew after each step",
        ),
        ("generator.images", images, "seen in training; the main lever on quality, and on minutes"),
        ("generator.widths", widths, f"channels, by level; sized for {findings.side} pixels"),
        ("generator.fold", fold, "pixels folded into channels first, which makes it cheap"),
        ("generator.embedding", embedding, "width of the condition"),
        *(_LARGE if findings.side > 16 else ()),
        ("generator.flip", True, "mirrored pictures are as good; False for writing"),
        ("generator.guidance", 2.0, "how strictly samples follow what was asked for"),
        ("generator.min_cell", MIN_CELL, "smaller cells are not asked for by name: their rows would be copied"),
        ("generator.floor", 0.6, "quality gate: least accuracy by samples, as a share of that by real rows"),
        ("generator.gate_rows", min(1000, choices.rows), "samples that the gate looks at"),
        ("judge.epochs", 25, "of the judge, and of the gate's classifiers"),
    ]


def _ensemble(findings: Findings, choices: Choices) -> list[Line]:
    shift = max(1, findings.side // 10)
    return [
        ("ensemble.shards", 2, "models that share the rows; a deletion trains only those that saw them"),
        ("ensemble.stem", "imagenet" if findings.side > 16 else "cifar", "imagenet is 15 times cheaper"),
        ("ensemble.width", 24, "64 is ResNet18; a narrow one learns more from few pictures in the same time"),
        ("ensemble.epochs", choices.epochs, "passes over the rows: the fewer rows, the more of them, from 15 to 40"),
        ("views.count", 10, "variants of a picture in training"),
        ("views.flip", True, "mirrored ones among them; False for writing"),
        ("views.shift", shift, "pixels that it is moved by, at most"),
    ]


def _loop(choices: Choices) -> list[Line]:
    ends = {
        "diffusion": "steps until no original is left",
        "oversample": "steps; nothing replaces what is forgotten, so the run ends when too few rows are left to copy",
        "reweigh": "steps; nothing replaces what is forgotten, so the run ends when too few rows are left to weigh",
    }
    points = 100 * 1.96 * 0.5 / (2 * max(1, choices.audit_rows)) ** 0.5
    return [
        ("loop.iterations", 10, ends[choices.method]),
        ("deletion.mode", "experiment", "service: a deletion on request also erases every trace in the run directory"),
        ("audit.rows", min(250, choices.audit_rows), "members, and as many non-members, in most audits"),
        (
            "audit.full_rows",
            choices.audit_rows,
            f"in the first, middle and last one, whose success rates are then known to about {points:.0f} points",
        ),
        ("report.originals", False, "your pictures are not shown in the report"),
    ]


def _literal(value: Any) -> str:
    """Python's text for a value, with double quotes."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_literal, value))}{',' * (len(value) == 1)})"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _wrapped(comment: str) -> list[str]:
    lines = [""]
    for word in _plain(comment).split():
        if len(lines[-1]) + len(word) > WIDTH - 20:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _plain(text: str) -> str:
    """Names come out of a user's table: nothing in them may end a comment or a docstring."""
    return " ".join(text.split()).replace("\\", "/").replace('"', "'")
