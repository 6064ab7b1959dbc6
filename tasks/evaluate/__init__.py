"""Evaluate: benchmarks of a trained network, and the report. A benchmark is one file: features, metric, scores."""

BENCHMARKS = {
    "retrieval": "tasks.evaluate.retrieval",
    "classification": "tasks.evaluate.classification",
    "propagation": "tasks.evaluate.propagation",
    "normals": "tasks.evaluate.normals",
}
# The field of EvaluateConfig that names the outside data of a benchmark, which runs where that is given.
DATA = {
    "classification": "labels",
    "propagation": "davis",
    "normals": "nyu",
}
# What is measured on the data set's own held-out videos; the others ask for a network and their data alone.
OF_TRACKS = frozenset({"retrieval", "classification"})
