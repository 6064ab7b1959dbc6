"""The generated world: seeded videos of textured 3-D shapes with every truth, drawn with numpy alone.

`config` says how large, `scene` what is where, `shapes` and `textures` what it looks like, `render` draws
a frame and its truth, `write`, `voc`, `davis` and `nyu` put it on disk in the formats that benchmarks read.
"""
