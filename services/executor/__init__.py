"""Runs, jobs, leases, logs and metrics: the service that starts every workload."""
