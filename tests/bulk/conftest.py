"""The tests of this folder write to memory."""

from training.in_memory import tmp_path

__all__ = ["tmp_path"]
