"""Networks: one file each, shared by train and evaluate."""

NETWORKS = {
    "small": "tasks.networks.small",
    "caffenet": "tasks.networks.caffenet",
}
