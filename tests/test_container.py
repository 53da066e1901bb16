"""The image and the composition: their steps are scripts that run here too, since no container does."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())


def lines(word):
    """The Dockerfile's instructions of one kind, continuation lines joined."""
    return re.findall(rf"^{word} (.*)$", DOCKERFILE.replace("\\\n", " "), re.M)


def test_the_image_starts_tfpdu_as_a_fixed_user_that_is_not_root():
    assert lines("ENTRYPOINT") == ['["tfpdu"]']
    assert lines("USER") == ["tfpdu"]
    assert "--uid 10001" in DOCKERFILE
    assert DOCKERFILE.index("\nUSER tfpdu") < DOCKERFILE.index("\nENTRYPOINT")


def test_bases_are_pinned_and_every_folder_that_is_written_to_is_a_volume():
    assert all(base.startswith("${PYTHON}") for base in lines("FROM"))
    assert re.fullmatch(r"PYTHON=python:3\.11\.\d+-slim-\w+", lines("ARG")[0])
    volumes = {"/runs", "/models", "/data", "/cache"}
    assert volumes == set(re.findall(r"/\w+", lines("VOLUME")[0]))
    folders = dict(re.findall(r"(\w+)=(/\w+)", lines("ENV")[-1]))
    assert {folders[name] for name in ("TFDS_DATA_DIR", "TFPDU_CACHE", "KERAS_HOME", "MPLCONFIGDIR")} <= volumes


def test_nothing_but_code_gets_into_the_image():
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert kept == {
        "setup.py",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "constraints.txt",
        "tfpdu",
        "configs",
        "docker",
    }
    copied = {word for line in lines("COPY") if "--from" not in line for word in line.split()[:-1]}
    assert copied <= kept
    assert all((ROOT / name).exists() for name in kept)


def test_every_step_that_installs_is_a_script_of_the_checkout():
    steps = [line for line in lines("RUN") if "tfpdu-" in line or "pip" in line or "docker/" in line]
    scripts = set(re.findall(r"docker/\w+\.sh", " ".join(steps)))
    assert scripts == {"docker/build_wheel.sh", "docker/install.sh", "docker/check.sh"}
    assert not any("pip install" in line for line in lines("RUN"))
    for script in (*scripts, "docker/demo.sh"):
        assert os.access(ROOT / script, os.X_OK)
        subprocess.run(["sh", "-n", ROOT / script], check=True)


def test_the_server_starts_cold_follows_the_configuration_and_cannot_write():
    serving = COMPOSE["services"]["serving"]
    assert "--allow_version_labels_for_unavailable_models" in serving["command"]
    assert "--model_config_file=/models/models.config" in serving["command"]
    assert any(word.startswith("--model_config_file_poll_wait_seconds=") for word in serving["command"])
    assert serving["volumes"] == ["models:/models:ro"]
    assert "127.0.0.1:8501:8501" in serving["ports"]
    assert re.search(r"tensorflow/serving:\d+\.\d+\.\d+\}$", serving["image"])
    assert serving["depends_on"]["demo"]["condition"] == "service_completed_successfully"


def test_the_composition_has_a_trainer_with_and_without_a_gpu_and_tensorboard():
    services = COMPOSE["services"]
    assert {"demo", "trainer", "trainer-gpu", "serving", "tensorboard"} == set(services)
    device = services["trainer-gpu"]["deploy"]["resources"]["reservations"]["devices"][0]
    assert device["capabilities"] == ["gpu"]
    used = {volume.partition(":")[0] for service in services.values() for volume in service["volumes"]}
    assert used == set(COMPOSE["volumes"])


@pytest.mark.slow
def test_the_images_steps_install_a_whole_tfpdu_into_a_new_environment(tmp_path):
    checkout = tmp_path / "src"  # as the image sees it: no tests, no .git
    checkout.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "constraints.txt"):
        shutil.copy(ROOT / name, checkout)
    for name in ("tfpdu", "configs", "docker"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    # The packages that the wheel needs are here already, in the pinned versions: pip finds them and checks them.
    site = next((tmp_path / "venv/lib").iterdir()) / "site-packages"
    (site / "present.pth").write_text(sysconfig.get_paths()["purelib"])
    environment = {**os.environ, "PATH": f"{tmp_path}/venv/bin:{os.environ['PATH']}", "PYTHONPATH": ""}
    environment["TF_CPP_MIN_LOG_LEVEL"] = "3"

    def run(*command):
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900, check=False
        )

    built = run(str(checkout / "docker/build_wheel.sh"), str(tmp_path / "wheels"))
    assert built.returncode == 0, built.stderr
    wheel = built.stdout.split()[-1]
    installed = run(str(checkout / "docker/install.sh"), wheel, "serving")
    assert installed.returncode == 0, installed.stderr
    checked = run(str(checkout / "docker/check.sh"), "all")
    assert checked.returncode == 0, checked.stderr
    assert "tensorflow 2.20" in checked.stdout
    where = run("python", "-c", "import tfpdu, tfpdu_configs; print(tfpdu.__file__, tfpdu_configs.__file__)")
    assert where.stdout.count(str(site)) == 2, where.stdout  # the wheel's own, and not the checkout's
