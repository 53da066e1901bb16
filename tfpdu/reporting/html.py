"""report.html: one self-contained page that tells what a run did, drawn from its run directory alone."""

import functools
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from tfpdu.common.files import write_text
from tfpdu.reporting import attacks, figures, formatting
from tfpdu.reporting.attacks import POPULATIONS, PROTOCOLS, attack_name
from tfpdu.reporting.fairness import sections, stages_of
from tfpdu.reporting.formatting import exact
from tfpdu.reporting.guarantees import conditions, guarantees
from tfpdu.reporting.run_data import RunData, read_run
from tfpdu.reporting.samples import strip
from tfpdu.reporting.style import CARD, GLYPHS, SERIES, css_variables, series
from tfpdu.reporting.summary import above_guessing, main_audit, sentence, summarise
from tfpdu.reporting.tables import TABLE1_COLUMNS, table1_rows
from tfpdu.unlearning import network_capacity

Row = Mapping[str, Any]

_SLICES_SHOWN = 20
_HERE = Path(__file__).parent


def write_report(workdir: str | Path, title: str | None = None, show_originals: bool = True) -> Path:
    """Writes `report.html` into a run directory, atomically, from the files there and nothing else.

    The page needs no network and no other file. The same files give the same bytes. A file that is not there yet
    (a run in progress) or is damaged leaves its section with a sentence that says so.

    Args:
      workdir: the run directory.
      title: the page's heading; default: made from the data set's name.
      show_originals: whether to show pictures of the originals; `report.originals = False` in config.json also
        hides them.

    Returns:
      The path of report.html.

    Raises:
      UserError: the directory does not exist or holds none of the files of a run.
    """
    run = read_run(workdir)
    path = run.workdir / "report.html"
    write_text(path, render(run, title, show_originals))
    return path


def render(run: RunData, title: str | None = None, show_originals: bool = True) -> str:
    """The page as text; arguments as for `write_report`."""
    summary = summarise(run)
    template = environment().get_template("report.html")
    return template.render(
        title=title or f"Debiased and unlearned: {summary.dataset or run.workdir.name}",
        css=Markup(stylesheet()),
        run=run,
        summary=summary,
        sentence=sentence(summary),
        bias=_bias(run),
        samples=_samples(run, show_originals),
        gate=_gate(run),
        groups=_groups(run),
        fairness=sections(run.fairness),
        table=_table(run),
        charts=_charts(run),
        plan=next(iter(run.named("plan")), None),
        attacks=_attacks(run),
        traces=run.last("traces"),
        guarantee=guarantees(run),
        conditions=conditions(run),
        capacity=_capacity(run),
        one_run=run.named("one_run"),
        manifest=run.manifest,
        device=re.sub("^(cpu|gpu)", lambda found: found.group().upper(), summary.device or ""),
        threads=_joined(run.manifest.get("threads", formatting.MISSING)),
        files=[(name, words, (run.workdir / name.rstrip("/")).exists()) for name, words in _FILES],
    )


_FILES = (
    ("config.json", "every setting of the run"),
    ("manifest.json", "versions, machine, seeds, hash of the data"),
    ("pools.json", "which row is in which pool"),
    ("metrics.jsonl", "what happened, one event a line"),
    ("bias.json", "shares, counts and KL of each attribute"),
    ("audit.json", "every attack, population and iteration"),
    ("fairness.json", "accuracy by class and group, group fairness"),
    ("table1.csv", "the table of iterations"),
    ("ledger.jsonl", "deletion requests and their receipts"),
    ("samples/", "the pictures shown here"),
    ("generator/", "the generator's checkpoints"),
    ("shards/", "one classifier a shard"),
    ("tensorboard/", "scalars and images for TensorBoard"),
    ("export/", "models for TF Serving"),
)


@functools.cache
def environment() -> jinja2.Environment:
    """Where the pages' templates are, and the filters that they use."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = ("percent", "count", "nats", "duration", "decimal")
    environment.filters.update({name: exact(getattr(formatting, name)) for name in names})
    environment.filters["above_guessing"] = above_guessing
    environment.filters |= {"attack_name": attack_name, "verdict": attacks.verdict, "p_value": attacks.p_text}
    return environment


def stylesheet() -> str:
    """CSS of all pages, with the colours of both themes."""
    light, dark = css_variables(dark=False), css_variables(dark=True)
    variables = (
        f":root {{ color-scheme: light dark; --card: {CARD[0]}; {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ --card: {CARD[1]}; {dark} }} }}\n"
    )
    return variables + (_HERE / "report.css").read_text(encoding="utf-8")


def _bias(run: RunData) -> dict[str, Any] | None:
    if not run.bias.get("attributes"):
        return None
    entries = []
    # a joint first: it shows what its marginals cannot
    order = sorted(run.bias["attributes"].items(), key=lambda item: " x " not in item[0])
    for index, (name, entry) in enumerate(order):
        cells = len(entry["values"])
        columns = ("values", "prior", "before", "after", "counts_before", "counts_after")
        nothing = [None] * cells
        entries.append(
            {
                "name": name,
                "entry": entry,
                "note": figures.kl_note(entry),
                "chart": Markup(figures.bias_chart(f"bias-{index}", name, entry)),
                "hidden": cells - len(figures.shown_cells(entry)),
                "cells": list(zip(*(entry.get(column) or nothing for column in columns), strict=True)),
            }
        )
    return {"entries": entries, **{key: run.bias.get(key) for key in _BIAS_TOTALS}}


_BIAS_TOTALS = ("kl_before", "kl_after", "total_before", "total_after", "n_added", "smoothing")


def _samples(run: RunData, show_originals: bool) -> dict[str, Any] | None:
    if not run.showcase:
        return None
    hidden = not show_originals or run.setting("report.originals") is False
    originals = None if hidden else run.showcase.get("originals")
    synthetic = run.showcase.get("synthetic")
    rows = [
        {
            "name": str(name),
            "originals": None if originals is None or not originals[index].size else strip(originals[index]),
            "synthetic": None if synthetic is None or not synthetic[index].size else strip(synthetic[index]),
        }
        for index, name in enumerate(run.showcase["label_names"])
    ]
    sizes = [array.shape[1:4] for array in (originals, synthetic) if array is not None]
    return {"rows": rows, "hidden": hidden, "size": sizes[0] if sizes else None}


def _gate(run: RunData) -> dict[str, Any] | None:
    gate, generator = run.last("quality_gate"), run.last("generator")
    steps = run.by_step("augment")
    made = {key: sum(row.get(key) or 0 for row in steps) for key in _AUGMENT_COUNTS}
    if not gate and not generator:
        return None
    return {"gate": gate, "generator": generator, "made": made if steps else None, "memory": run.last("memory")}


def _capacity(run: RunData) -> dict[str, Any] | None:
    """The largest step beside what theory says of how many rows may go; None before the first iteration."""
    iterations = run.iterations()
    c = run.setting("loop.capacity")
    if not iterations or not iterations[0].get("parameters") or not c or not 0 < c < 1:
        return None
    first = iterations[0]
    left = [row["n_original"] for row in iterations]
    return {
        "figures": network_capacity(first["n_original"], first["parameters"], c),
        "largest": max((before - after for before, after in pairwise(left)), default=0),
        "requested": max((row.get("rows") or 0 for row in run.named("deletion")), default=0),
        "rows": first["n_original"],
        "parameters": first["parameters"],
        "c": c,
    }


_AUGMENT_COUNTS = (
    *("requested", "redrawn", "kept_although_different"),
    *("redrawn_copies", "kept_copies", "candidates", "kept_unlike"),
)


def _groups(run: RunData) -> dict[str, Any] | None:
    cells = {row["attribute"] for row in run.fairness if row.get("attribute", "").startswith("label x ")}
    rows = [row for row in run.fairness if row.get("metric") == "accuracy" and row.get("value") is not None]
    rows = [row for row in rows if row["attribute"] not in cells]
    charts = []
    for index, attribute in enumerate(dict.fromkeys(row["attribute"] for row in rows)):
        mine = [row for row in rows if row["attribute"] == attribute]
        stages = stages_of(mine)
        groups = list(dict.fromkeys(row["group"] for row in mine))
        charts.append(
            {
                "attribute": attribute,
                "stages": stages,
                "groups": groups,
                "gaps": [(stage, _gap(stage.values), _worst(stage.values)) for stage in stages],
                "chart": Markup(figures.group_chart(f"groups-{index}", attribute, groups, stages)),
            }
        )
    return {"charts": charts} if charts else None


def _gap(values: Mapping[str, Row]) -> float:
    rates = [row["value"] for row in values.values()]
    return float(max(rates) - min(rates))


def _worst(values: Mapping[str, Row]) -> Row:
    return min(values.values(), key=lambda row: row["value"])


def _table(run: RunData) -> list[dict[str, Any]]:
    """One dict per iteration: the columns of table1.csv, and what else the events know of that iteration."""
    events = {row["iteration"]: dict(row) for row in run.iterations()}
    if not run.table1:
        return [events[row["iteration"]] | row for row in table1_rows(run.events)]
    rows = []
    for line in run.table1:
        row = {name: float(line[name]) if line.get(name) else None for name in TABLE1_COLUMNS}
        iteration = int(row["iteration"] or 0)
        rows.append(events.get(iteration, {}) | row | {"iteration": iteration})
    return rows


def _charts(run: RunData) -> dict[str, Any] | None:
    rows = [row for row in _table(run) if row.get("forget_fraction") is not None]
    if not rows:
        return None
    drawn = [
        (series(index)[0], GLYPHS[series(index)[1]], words)
        for index, (key, words) in enumerate(figures.ACCURACY_LINES)
        if any(row.get(key) is not None for row in rows)
    ]
    return {
        "accuracy": Markup(figures.accuracy_chart("accuracy", rows)),
        "legend": drawn,
        "time": Markup(figures.time_chart("time", rows)),
    }


def _attacks(run: RunData) -> dict[str, Any] | None:
    forgotten = {row["iteration"]: row.get("forget_fraction") for row in _table(run)}
    rows = [
        {**row, "forget_fraction": forgotten[row["iteration"]], "attack": attack_name(row["attack"])}
        for row in main_audit(run)
        if forgotten.get(row["iteration"]) is not None
    ]
    if not rows:
        return None
    named = list(dict.fromkeys(row["attack"] for row in rows))
    drawn = _strongest(rows, named)
    return {
        "legend": [(series(i)[0], GLYPHS[series(i)[1]], attack) for i, attack in enumerate(drawn)],
        "panels": _attack_panels([row for row in rows if row["attack"] in drawn], drawn),
        "protocol": rows[0].get("protocol"),
        "count": len(named),
        **_attack_measures(run, sorted({row["iteration"] for row in rows})),
    }


def _strongest(rows: list[dict[str, Any]], named: list[str]) -> list[str]:
    """As many attacks as a chart has colours, those that once were best, in their order."""
    best = {name: max(row["success_rate"] for row in rows if row["attack"] == name) for name in named}
    kept = sorted(named, key=lambda name: -best[name])[: len(SERIES)]
    return [name for name in named if name in kept]


def _attack_panels(rows: list[dict[str, Any]], attacks: list[str]) -> list[dict[str, Any]]:
    limits = figures.attack_limits(rows)
    panels: list[dict[str, Any]] = []
    for key in [*POPULATIONS, *sorted({row["population"] for row in rows} - set(POPULATIONS))]:
        mine = [row for row in rows if row["population"] == key]
        words, name = POPULATIONS.get(key, key), f"attacks-{len(panels)}"
        chart = Markup(figures.attack_chart(name, words, mine, attacks, limits)) if mine else None
        panels.append({"words": words, "chart": chart})
    return panels


def _attack_measures(run: RunData, iterations: list[int]) -> dict[str, Any]:
    """All protocols' rows at the first, middle and last audit, for the table of measures."""
    shown = {iterations[0], iterations[len(iterations) // 2], iterations[-1]}
    rows = [row for row in run.audit if row["iteration"] in shown and not row.get("slice")]
    slices = [row for row in run.audit if row["iteration"] in shown and row.get("slice")]
    names = dict.fromkeys(row["attack"] for row in rows)
    protocols = list(dict.fromkeys(str(row.get("protocol")) for row in rows))
    return {
        "rows": rows,
        "populations": POPULATIONS,
        "explained": [attacks.ATTACKS[name] for name in names if name in attacks.ATTACKS],
        "tested": any("p_holm" in row for row in rows),
        "reverse": [row for row in rows if attacks.verdict(row) == attacks.REVERSE],
        "slices": attacks.slices_sentence(slices, attacks.stand_out(slices)) if slices else "",
        "slice_rows": attacks.stand_out(slices)[:_SLICES_SHOWN],
        "protocols": [(name, PROTOCOLS.get(name, "")) for name in protocols],
        "fprs": sorted({fpr for row in rows for fpr in row.get("tpr_at_fpr") or {}}, key=float, reverse=True),
    }


def _joined(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
