"""Two studies of group fairness: whether debiasing helps, and whether deletion hurts, plain methods beside both."""

from tfpdu.debiasing.comparison import Comparison
from tfpdu.debiasing.deletion import Deletion
from tfpdu.debiasing.methods import METHODS, PLAIN
from tfpdu.debiasing.source import Source, Unavailable
from tfpdu.debiasing.study import Study, StudySettings

__all__ = ["METHODS", "PLAIN", "Comparison", "Deletion", "Source", "Study", "StudySettings", "Unavailable"]
