"""Evaluate: benchmarks of a trained network, and the report. A benchmark is one file: features, metric, scores."""

BENCHMARKS = {
    "retrieval": "tasks.evaluate.retrieval",
    "classification": "tasks.evaluate.classification",
}
