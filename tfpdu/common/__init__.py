"""What every room needs: errors, validation, keyed randomness, atomic files, progress, interruption."""

from tfpdu.common.errors import StopRequested, UserError
from tfpdu.common.progress import Progress, say

__all__ = ["Progress", "StopRequested", "UserError", "say"]
