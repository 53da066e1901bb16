"""Serving: export, publish and withdraw versions for TensorFlow Serving, and ask its servers."""

from tfpdu.serving.client import Answer, Client, VersionStatus

__all__ = ["Answer", "Client", "VersionStatus"]
