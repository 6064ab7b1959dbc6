"""Evaluate: benchmarks of a trained network, and the report. A benchmark is one file: features, metric, scores."""

BENCHMARKS = {
    "retrieval": "tasks.evaluate.retrieval",
    "classification": "tasks.evaluate.classification",
    "voc_classification": "tasks.evaluate.voc_classification",
    "image_classification": "tasks.evaluate.image_classification",
    "voc_retrieval": "tasks.evaluate.voc_retrieval",
    "detection": "tasks.evaluate.detection",
    "propagation": "tasks.evaluate.propagation",
    "normals": "tasks.evaluate.normals",
}
# They run where they are asked for by name alone: at full size they take hours.
BY_REQUEST = frozenset({"detection"})
# What is measured on region proposals, which are units of their own.
OF_PROPOSALS = frozenset({"detection"})
# The field of EvaluateConfig that names the outside data of a benchmark, which runs where that is given.
DATA = {
    "classification": "labels",
    "voc_classification": "voc",
    "image_classification": "images",
    "voc_retrieval": "voc",
    "detection": "voc",
    "propagation": "davis",
    "normals": "nyu",
}
# What is measured on the data set's own held-out videos; the others ask for a network and their data alone.
OF_TRACKS = frozenset({"retrieval", "classification"})
FEATURES = ("trained", "untrained", "supervised", "hog", "colour", "pixels", "copied", "by_place", "constant")
"""Some are none, but what can be said without any: `copied`, the first mask in every frame; `by_place`, the mean normal
of a place in the image; `constant`, the mean normal."""
