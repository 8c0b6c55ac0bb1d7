"""The views of the page Models. Figures come from manifests, evaluation and the champion log; nothing is decided."""
