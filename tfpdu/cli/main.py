"""`tfpdu <command>`: the same commands as scripts/*.py."""

import importlib
import sys

from tfpdu.common.validation import did_you_mean

COMMANDS = {
    "init": ("tfpdu.cli.init", "your own pictures and a table: a config that fits them, problems, duplicates, cells"),
    "run": ("tfpdu.cli.run_pdu", "Algorithm 2: debias, learn, forget, replenish, audit, report"),
    "forget": ("tfpdu.cli.forget", "delete rows of a run on request: ledger, exact unlearning, audit, receipt"),
    "requests": ("tfpdu.cli.requests", "the deletion requests of a run: pending and done, with due dates"),
    "verify": ("tfpdu.cli.verify", "check that a run directory is whole and holds nothing of deleted rows"),
    "train": ("tfpdu.cli.train_generator", "a generator alone, resumable, for runs that use it ready-made"),
    "unlearn": ("tfpdu.cli.unlearn", "make any Keras classifier forget rows, by AMUN, SalUn, SCRUB and others"),
    "bias": ("tfpdu.cli.bias_report", "the bias of a data set against a prior: table, bias.json, figures"),
    "audit": ("tfpdu.cli.audit", "membership inference against a run, any model or bare answers: table, page, gate"),
    "fairness": ("tfpdu.cli.fairness", "group fairness of any model's predictions in a CSV: table, JSON, page, gate"),
    "convert": (
        "tfpdu.cli.convert",
        "ImageNet weights of torchvision's or keras-hub's ResNet-18, to start training from",
    ),
    "evaluate": ("tfpdu.cli.evaluate_generator", "what a generator's samples are worth and what it remembers: JSON"),
    "benchmark": (
        "tfpdu.cli.benchmark_unlearning",
        "unlearning methods x scenarios x seeds, measured alike: table, JSON, CSV, page",
    ),
    "debiasing": (
        "tfpdu.cli.debiasing",
        "does debiasing by diffusion help, does deletion hurt groups: methods x seeds, table, JSON, CSV, page",
    ),
    "compare": ("tfpdu.cli.compare", "runs beside the numbers of the paper: verdicts, intervals, reasons"),
    "results": ("tfpdu.cli.results", "the experiments of the paper and ours: run, resume, collect, tables over seeds"),
    "serving": ("tfpdu.cli.serving", "export, publish, withdraw versions for TensorFlow Serving; ask its servers"),
    "report": ("tfpdu.cli.report", "write report.html anew from a run directory"),
}


def main() -> None:
    """Hands over to the command named first on the command line; does not return."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help", "help"):
        print("usage: tfpdu <command> [flags]; tfpdu <command> --helpshort lists a command's flags\n")
        print("\n".join(f"  {name:10}{text}" for name, (_, text) in COMMANDS.items()))
        sys.exit(0)
    name = sys.argv.pop(1)
    if name not in COMMANDS:
        print(
            f"tfpdu: no command {name!r}{did_you_mean(name, COMMANDS)}; known: {', '.join(COMMANDS)}", file=sys.stderr
        )
        sys.exit(2)
    sys.argv[0] = f"tfpdu {name}"
    importlib.import_module(COMMANDS[name][0]).main()
