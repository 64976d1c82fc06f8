"""The index advisor: which few indexes a workload needs, without building any to find out."""
