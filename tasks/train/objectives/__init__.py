"""Objectives: one file each; a name, and the module that is imported when the name is selected."""

OBJECTIVES = {
    "ranking": "tasks.train.objectives.ranking",
    "infonce": "tasks.train.objectives.infonce",
    "slowness": "tasks.train.objectives.slowness",
    "context": "tasks.train.objectives.context",
    "autoencoder": "tasks.train.objectives.autoencoder",
    "supervised": "tasks.train.objectives.supervised",
}
# What an objective learns from, by the module that loads it.
SAMPLES = {"pairs": "tasks.train.pairs", "images": "tasks.train.images"}


def samples_of(objective: str) -> str:
    """Which of SAMPLES an objective learns from."""
    return "images" if objective == "supervised" else "pairs"
