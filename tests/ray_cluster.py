"""The one Ray cluster of a test process: it takes 10 s to start, so that all tests that need one share it."""

from __future__ import annotations

import functools


@functools.cache
def cluster() -> None:
    """Start the cluster, unless it runs. Ray ends it with the process."""
    import ray
    import ray.data

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=200 * 2**20)
    ray.data.DataContext.get_current().enable_progress_bars = False
