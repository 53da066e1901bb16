"""Presets: one file each, get_config() -> ConfigDict."""
