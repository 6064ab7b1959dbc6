"""Networks: one file each, shared by train and evaluate."""

NETWORKS = {
    "small": "tasks.networks.small",
    "resnet18": "tasks.networks.resnet18",
    "caffenet": "tasks.networks.caffenet",
}
