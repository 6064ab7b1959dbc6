"""Estimators: one file each; a name, and the module that is imported when the name is selected."""

ESTIMATORS = {
    "klt": "tasks.track.estimators.klt",
    "farneback": "tasks.track.estimators.farneback",
    "dis": "tasks.track.estimators.dis",
    "kcf": "tasks.track.estimators.kcf",
}
