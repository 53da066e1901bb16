"""From a folder of pictures and a table to a config that fits them: what `tfpdu init` does."""

from tfpdu.own_data.inspection import Findings, inspect_pictures
from tfpdu.own_data.project import Project, make_project
from tfpdu.own_data.request import Request

__all__ = ["Findings", "Project", "Request", "inspect_pictures", "make_project"]
