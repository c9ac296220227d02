"""How the service runs on a Ray cluster: its image, its variables, Kubernetes, clouds, dashboards and alerts."""
