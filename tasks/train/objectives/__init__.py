"""Objectives: one file each; a name, and the module that is imported when the name is selected."""

OBJECTIVES = {
    "ranking": "tasks.train.objectives.ranking",
}
