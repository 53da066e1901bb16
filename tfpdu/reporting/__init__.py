"""tfpdu."""
