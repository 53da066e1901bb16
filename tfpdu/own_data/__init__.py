"""From a folder of pictures and a table to a config that fits them: what `tfpdu init` does.

`project.make_project` does all of it; it loads TensorFlow, and so is imported where what can be said without it was.
"""

from tfpdu.own_data.inspection import Findings, inspect_pictures
from tfpdu.own_data.request import Request, check_home, open_table

__all__ = ["Findings", "Request", "check_home", "inspect_pictures", "open_table"]
