"""The views of the page Models. They show manifests, evaluations, and the champion log."""
