"""Loaded by every Python of a chaos run, since its folder is on PYTHONPATH; does nothing in any other."""

import os

if "TRITRACK_CHAOS" in os.environ:
    from tests.chaos.faults import install

    install()
if "TRITRACK_CHAOS_SAMPLES" in os.environ:
    from tests.chaos import samples

    samples.install()
