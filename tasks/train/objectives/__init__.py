"""Objectives: one file each; a name, and the module that is imported when the name is selected."""

OBJECTIVES = {
    "ranking": "tasks.train.objectives.ranking",
    "infonce": "tasks.train.objectives.infonce",
    "slowness": "tasks.train.objectives.slowness",
    "context": "tasks.train.objectives.context",
    "autoencoder": "tasks.train.objectives.autoencoder",
}
