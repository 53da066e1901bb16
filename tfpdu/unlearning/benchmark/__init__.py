"""One fair benchmark of unlearning methods: the same originals, forget sets, references and measures for all."""

from tfpdu.unlearning.benchmark.grid import Benchmark, Cell
from tfpdu.unlearning.benchmark.models import Models, Tables
from tfpdu.unlearning.benchmark.scenarios import KINDS, Scenario, Task
from tfpdu.unlearning.benchmark.settings import BenchmarkSettings

__all__ = ["KINDS", "Benchmark", "BenchmarkSettings", "Cell", "Models", "Scenario", "Tables", "Task"]
