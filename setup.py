"""Package metadata. `configs/` stands at the top of the checkout and travels in the wheel as tfpdu_configs."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "tfpdu/__init__.py").read_text()).group(1)

setup(
    name="tfpdu",
    version=VERSION,
    description="Debias image data with guided diffusion, unlearn the originals exactly, audit what is left",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.12",
    packages=[*find_packages(include=["tfpdu", "tfpdu.*"]), "tfpdu_configs"],
    package_dir={"tfpdu_configs": "configs"},
    package_data={
        "tfpdu": ["py.typed"],
        "tfpdu.reporting": ["*.html", "*.css"],
        "tfpdu.diffusion": ["weights/*/*", "weights/*/critics/*/*"],
    },
    entry_points={"console_scripts": ["tfpdu = tfpdu.cli.main:main"]},
    install_requires=[
        "tensorflow>=2.20,<2.21",
        "keras>=3.15,<4",
        "keras-cv>=0.9,<0.10",
        "tensorflow-datasets>=4.9.10",
        "importlib_resources",  # tensorflow-datasets needs it to download, and does not say so
        "tensorflow-privacy>=0.9,<0.10",
        "tensorflow-empirical-privacy>=0.1,<0.2",
        "dp-accounting>=0.4.3,<0.5",
        "numpy>=1.26,<2",
        "scipy>=1.11",
        "absl-py>=1.4",
        "ml-collections>=1.1",
        "scikit-learn>=1.6,<1.7",
        "fairlearn>=0.9,<0.10",
        "matplotlib>=3.8",
        "tensorboard>=2.20",
        "jinja2>=3.1",
        "pillow>=10",
        "pandas>=1.5,<2",
        "pyarrow<20",
        "tqdm>=4.66",
        "threadpoolctl",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.20,<2.21"],
        "ray": ["ray>=2.52"],
        "serving": ["tensorflow-serving-api>=2.20,<2.21"],
        "pretrained": ["keras-hub", "safetensors"],
        "jax": ["jax==0.7.0"],
        "dev": [
            "jax==0.7.0",
            "ray>=2.52",
            "tensorflow-serving-api>=2.20,<2.21",
            "pytest>=8",
            "pytest-timeout",
            "pytest-xdist",
            "hypothesis>=6.100",
            "ruff==0.17.5",
            "mypy==2.4.1",
            "safetensors",
        ],
    },
)
