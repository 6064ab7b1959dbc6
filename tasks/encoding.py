"""How videos are encoded: one choice of codec and options for all that writes them."""

from __future__ import annotations

import platform

_CRF = 18  # visually lossless for x264


def video_codec(crf: int = _CRF, preset: str = "fast") -> tuple[str, dict[str, str]]:
    """The encoder's name in FFmpeg and its options: constant quality, H.264 where this build has x264, else MPEG-4.

    On x86-64 x264 is held to SSE4.2, which NumPy asks for too: with AVX-512 its choice of modes reads memory that
    nothing wrote, and equal frames gave four different files (seen with MALLOC_PERTURB_ on PyAV 18.1); with SSE4.2
    or AVX2 always the same one. `crf` and `preset` are x264's own words; MPEG-4 has one quality here.
    """
    import av

    if "libx264" not in av.codecs_available:
        return "mpeg4", {"qscale": "3"}
    options = {"crf": str(crf), "preset": preset}
    if platform.machine() in ("x86_64", "AMD64"):
        options["x264-params"] = "asm=SSE4.2"
    return "libx264", options
