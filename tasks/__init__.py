"""Tasks: do the work. One package a stage, in the order of the data flow: download, track, shard, train, evaluate."""
