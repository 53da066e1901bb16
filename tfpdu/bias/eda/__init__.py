"""Estimation-of-distribution algorithms for categorical variables: UMDA, MIMIC, cGA."""

from tfpdu.bias.eda.categorical import Fitness, Search
from tfpdu.bias.eda.cga import CGA
from tfpdu.bias.eda.mimic import MIMIC
from tfpdu.bias.eda.umda import UMDA

__all__ = ["CGA", "MIMIC", "UMDA", "Fitness", "Search"]
