"""`tfpdu unlearn`, `scripts/unlearn.py`: makes any Keras classifier forget rows, approximately or by retraining.

    tfpdu unlearn --model=my.keras --method=amun --forget=forget.npz --retain=retain.npz --output=unlearned.keras
    tfpdu unlearn --method=salun --set=learning_rate=0.005 --set=epochs=5 --model=… --forget=… --retain=… --output=…
    tfpdu unlearn --method=scrub --settings                          # a method's settings, and where it comes from

--forget, --retain, --test and --nonmembers are .npz files (images, labels), folders with a CSV, or a TFDS name with
split. The model gets their pixels as --pixels says; it is left as it is, and --output is a new file, with a .json of
what was done beside it. With --test the table shows accuracies before and after, and how well the loss tells forgotten
rows from test rows (50: not at all). None of these methods guarantees anything but "retrain"; runs unlearn exactly.
"""

import ast
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from tfpdu.cli import app
from tfpdu.common.errors import UserError

if TYPE_CHECKING:
    from tfpdu.data import Records
    from tfpdu.unlearning.methods import Examples, Method

_MODEL = flags.DEFINE_string("model", "", ".keras or .h5, or package.module:function that returns a Keras model")
_METHOD = flags.DEFINE_string("method", "amun", "a name in tfpdu.unlearning.METHODS, or one's own package.module:name")
_SET = flags.DEFINE_multi_string("set", [], "a setting of the method, e.g. learning_rate=0.01 or attack.epsilon=0.04")
_SETTINGS = flags.DEFINE_bool("settings", False, "print the method's settings, and do nothing")
_FORGET = flags.DEFINE_string("forget", "", "rows to forget")
_RETAIN = flags.DEFINE_string("retain", "", "rows of the training data that stay; empty: not at hand")
_TEST = flags.DEFINE_string("test", "", "rows that the model was not trained on, to measure with")
_NONMEMBERS = flags.DEFINE_string("nonmembers", "", "rows that it was not trained on, for methods with an auditor")
_OUTPUT = flags.DEFINE_string("output", "", "the new model, a .keras file that is not there yet")
_PIXELS = flags.DEFINE_enum("pixels", "0..255", ["0..255", "0..1"], "what the model gets, float32")
_ANSWERS = flags.DEFINE_enum("answers", "logits", ["logits", "probabilities"], "what the model gives")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 0, "pixels a side that pictures are resized to; 0 as they are")
_TABLE = flags.DEFINE_string("table", "", "of a folder of pictures: its CSV")
_LABEL = flags.DEFINE_string("label", "", "of a folder of pictures: the column of the class")
_DIRECTORY = flags.DEFINE_string("tfds_directory", "", "of TFDS data; default TFDS_DATA_DIR")
_SEED = flags.DEFINE_integer("seed", 0, "of all draws", lower_bound=0)
_THREADS = flags.DEFINE_integer("threads", 2, "of TensorFlow; the same number gives the same bits", lower_bound=1)


def _main(argv: Sequence[str]) -> None:
    del argv
    import sys

    sys.path.append("")  # for package:function; last, so that it hides nothing
    from tfpdu.common.determinism import configure

    configure(_THREADS.value)
    from tfpdu.unlearning.methods import find

    method = find(_METHOD.value)
    if _SETTINGS.value:
        print("\n".join(_settings_lines(method)))
        return
    output = _new_file(_OUTPUT.value)
    for name, flag in (("model", _MODEL), ("forget", _FORGET)):
        if not flag.value:
            raise UserError(f"--{name}: expected one; see tfpdu unlearn --helpshort")
    model = _model(_MODEL.value)
    sides = _sides(int(model.output_shape[-1]))
    rows = {flag: _examples(records) for flag, records in sides.items()}
    settings = settings_of(method, _SET.value, _given(method, rows))
    start = time.perf_counter()
    from_logits = _ANSWERS.value == "logits"
    after = method.unlearn(
        model, rows["--forget"], rows.get("--retain"), settings, _SEED.value, from_logits=from_logits
    )
    seconds = time.perf_counter() - start
    numbers = {name: _measured(each, rows) for name, each in (("before", model), ("after", after))}
    _write(after, output, method, settings, rows, numbers, seconds)
    print("\n".join(_table(method, numbers, seconds)))
    print(output)


def settings_of(method: "Method", texts: Sequence[str], given: dict[str, Any]) -> Any:
    """A method's settings with "name=value" texts laid over its defaults; "attack.epsilon=1" goes into a nested one.

    Raises:
      UserError: there is no such setting, or the value is none of its kind.
    """
    from tfpdu.common.validation import did_you_mean

    values = dict(given)
    default = method.settings()
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set={text}: expected name=value")
        outer, _, inner = name.partition(".")
        holder = values.get(outer, getattr(default, outer, None)) if inner else default
        names = [f.name for f in dataclasses.fields(holder)] if dataclasses.is_dataclass(holder) else []
        if (inner or outer) not in names:
            known = ", ".join(names) or "none"
            raise UserError(
                f"--set={text}: {method.name} has no such setting{did_you_mean(inner or outer, names)}; known: {known}"
            )
        try:
            parsed = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            parsed = value
        values[outer] = _replaced(holder, inner, parsed, text) if inner else parsed
    return _replaced(default, "", values, f"{method.name}")


def _replaced(holder: Any, inner: str, value: Any, where: str) -> Any:
    try:
        return dataclasses.replace(holder, **({inner: value} if inner else value))
    except UserError as error:
        raise UserError(f"--set: {error}") from None
    except TypeError as error:
        raise UserError(f"--set={where}: {error}") from None


def _given(method: "Method", rows: "dict[str, Examples]") -> dict[str, Any]:
    """Settings that follow from other flags."""
    names = {field.name for field in dataclasses.fields(method.settings)}
    values: dict[str, Any] = {}
    if _PIXELS.value == "0..1":
        if "pixel_max" in names:
            values["pixel_max"] = 1.0
        if "attack" in names:
            from tfpdu.unlearning.methods import AttackSettings

            values["attack"] = AttackSettings(pixel_max=1.0)
    if "nonmembers" in names and "--nonmembers" in rows:
        values["nonmembers"] = rows["--nonmembers"]
    return values


def _settings_lines(method: "Method") -> list[str]:
    default = method.settings()
    fields = [(f.name, getattr(default, f.name)) for f in dataclasses.fields(default)]
    lines = [f"{method.name}: {method.citation}", ""]
    lines += ["needs retained rows" if method.needs_retain else "works without retained rows", ""]
    documented = [line.strip() for line in (type(default).__doc__ or "").splitlines() if line.strip()]
    return [*lines, *(f"  --set={name}={value!r}" for name, value in fields), "", *documented]


def _new_file(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".keras":
        raise UserError(f"--output={text}: expected a file that ends in .keras")
    if not path.parent.is_dir():
        raise UserError(f"--output={text}: no such directory as {path.parent}")
    if path.exists():
        raise UserError(f"--output={text}: is there already; name another file")
    return path


def _model(text: str) -> Any:
    from tfpdu.audit.models import load_keras

    model = load_keras(text)
    shapes = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    if not all(isinstance(shape, tuple) for shape in shapes) or len(shapes[1] or ()) != 2:
        raise UserError(f"--model={text}: expected one input of pictures and one output [n, classes]")
    return model


def _sides(classes: int) -> "dict[str, Records]":
    """The rows behind the flags that were given, with one coding of the classes."""
    from tfpdu.data.sides import SideOptions, aligned, read_side, same_pictures

    options = SideOptions(_IMAGE_SIZE.value, _TABLE.value, _LABEL.value, directory=_DIRECTORY.value)
    named = {"--forget": _FORGET, "--retain": _RETAIN, "--test": _TEST, "--nonmembers": _NONMEMBERS}
    sides = {flag: read_side(each.value, flag, options, varied=False) for flag, each in named.items() if each.value}
    sides = dict(zip(sides, aligned(sides, classes), strict=True))
    for flag in [flag for flag in sides if flag != "--forget"]:
        _, there = same_pictures(sides["--forget"], sides[flag])
        if there.any():
            raise UserError(
                f"{flag}: {sides[flag].ids[there][0]!r} has the very pixels of a row to forget ({there.sum()} such)"
            )
    return sides


def _examples(records: "Records") -> "Examples":
    import numpy as np

    from tfpdu.unlearning.methods import Examples

    images = records.images
    if _PIXELS.value == "0..1":
        images = np.asarray(images[:], np.float32) / np.float32(255)
    return Examples(images, records.labels, records.ids)


def _measured(model: Any, rows: "dict[str, Examples]") -> dict[str, float]:
    """Accuracies, and the AUC of the loss between forgotten and test rows."""
    import numpy as np

    from tfpdu.audit import auc
    from tfpdu.audit.losses import cross_entropy, cross_entropy_from_logits
    from tfpdu.ensemble.networks import answers

    loss_of = cross_entropy_from_logits if _ANSWERS.value == "logits" else cross_entropy
    numbers, losses = {}, {}
    for flag in ("--forget", "--retain", "--test"):
        if flag in rows:
            found = answers(model, rows[flag].images)
            numbers[f"{flag[2:]}_accuracy"] = float(np.mean(found.argmax(1) == rows[flag].labels))
            losses[flag] = loss_of(found, rows[flag].labels)
    if "--test" in losses:
        numbers["loss_auc"] = auc(-losses["--forget"], -losses["--test"]).value
    return numbers


def _write(
    model: Any, path: Path, method: "Method", settings: Any, rows: Any, numbers: dict[str, Any], seconds: float
) -> None:
    import tfpdu
    from tfpdu.common import files

    card = {
        "tfpdu": tfpdu.__version__,
        "method": method.name,
        "citation": method.citation,
        "guarantee": "none" if method.name != "retrain" else "trained without the rows",
        "settings": {f.name: _told(getattr(settings, f.name)) for f in dataclasses.fields(settings)},
        "seed": _SEED.value,
        "threads": _THREADS.value,
        "rows": {flag[2:]: len(part) for flag, part in rows.items()},
        "seconds": seconds,
        **numbers,
    }
    with files.replacing(path) as temporary:
        model.save(temporary)
    files.write_json(path.with_suffix(".json"), card)


def _told(value: Any) -> Any:
    """A setting as JSON has it: rows as their number, and what else JSON has not as text."""
    if dataclasses.is_dataclass(value) and hasattr(value, "ids"):
        return f"{len(value.ids)} rows"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _table(method: "Method", numbers: dict[str, dict[str, float]], seconds: float) -> list[str]:
    from tfpdu.reporting.formatting import aligned, duration, percent

    heads = {
        "forget_accuracy": "accuracy, forgotten rows",
        "retain_accuracy": "accuracy, retained rows",
        "test_accuracy": "accuracy, test rows",
        "loss_auc": "forgotten or test? AUC of the loss",
    }
    lines = [["", "before", "after"]]
    lines += [
        [words, *(percent(numbers[when][key]) for when in ("before", "after"))]
        for key, words in heads.items()
        if key in numbers["after"]
    ]
    return [f"{method.name}, {duration(seconds)}", *aligned(lines)]


def main() -> None:
    """Runs the command; does not return."""
    app.run(_main)
