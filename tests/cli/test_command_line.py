"""What a user sees when the input is at fault: exit code 2, one line, nothing written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import command

ROOT = Path(__file__).parents[2]


def run_pdu(*arguments: str) -> subprocess.CompletedProcess:
    return command("scripts/run_pdu.py", *arguments)


def assert_one_line(result: subprocess.CompletedProcess, code: int, *words: str) -> None:
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("tfpdu: ")]
    assert len(lines) == 1, result.stderr
    assert lines[0] == result.stderr.splitlines()[-1]
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config.loop.iteration=3"], ["iterations"]),
        (["--config.sed=3"], ["seed"]),
        (["--config.seed=three"], ["config.seed"]),
        (["--confg=digits"], ["confg", "config"]),
        (["--config=digts"], ["digits"]),
        (["--config=nowhere/mine.py"], ["no such file"]),
        ([], ["--workdir"]),
    ],
)
def test_a_wrong_command_line_gets_one_line_that_names_the_right_word(arguments, words):
    assert_one_line(run_pdu(*arguments), 2, *words)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        pytest.param("--config.ensemble.shards=0", ["shards", "0"], marks=pytest.mark.slow),
        ("--config.ensemble.shards=5000", ["shards", "5000"]),
        ("--config.prior.kind=unifrom", ["uniform"]),
        pytest.param("--config.draw.rows=100000", ["100000"], marks=pytest.mark.slow),
        pytest.param("--config.loop.iterations=3", ["capacity"], marks=pytest.mark.slow),
        pytest.param("--config.data.name=digit", ["digits"], marks=pytest.mark.slow),
        pytest.param("--config.data.attributes=('parety',)", ["parity"], marks=pytest.mark.slow),
    ],
)
def test_a_value_out_of_range_is_named(tmp_path, override, words):
    assert_one_line(run_pdu(f"--workdir={tmp_path / 'run'}", override), 2, *words)


def test_a_missing_data_set_says_how_to_get_it(tmp_path):
    result = run_pdu("--config=cifar10", f"--workdir={tmp_path / 'run'}", f"--config.data.directory={tmp_path}")
    assert_one_line(result, 2, "cifar10", "TFDS_DATA_DIR")


def test_help_lists_the_flags_and_exits_0():
    words = [sys.executable, "scripts/run_pdu.py", "--helpshort"]
    result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0
    assert "--workdir" in result.stdout
    assert "dry_run" in result.stdout


def test_the_tfpdu_command_names_its_commands_and_the_nearest_one():
    tfpdu = [sys.executable, "-c", "from tfpdu.cli.main import main; main()"]
    listed = subprocess.run(tfpdu, capture_output=True, text=True)
    assert listed.returncode == 0
    assert "Algorithm 2" in listed.stdout
    wrong = subprocess.run([*tfpdu, "rum"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "'run'" in wrong.stderr


@pytest.mark.slow
def test_a_generator_alone_is_trained_and_goes_on(tmp_path):
    directory = tmp_path / "generator"
    script = "scripts/train_generator.py"
    words = [f"--directory={directory}", "--config.generator.schedule=rsqrt", "--config.generator.widths=(32,)"]
    for images in (256, 512):
        result = command(script, *words, f"--config.generator.images={images}")
        assert result.returncode == 0, result.stderr
        assert result.stdout.splitlines()[-1] == str(directory)
        assert json.loads((directory / "generator.json").read_text())["images_seen"] == images
    assert_one_line(command(script), 2, "--directory")
