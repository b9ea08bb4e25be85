"""The version of each stage's code, in one place.

Raise a stage's number when it would make another value of the same inputs and parameters: the UI
then shows the partitions that the old code made as stale (unsynced), and materialising them again
mends it. Stages that follow become stale only if the value that is made again differs.
"""

CODE_VERSIONS = {
    "trace_ids": "1",
    "embeddings": "2",
    "k_sweep_scores": "3",
    "fitted_model": "2",
    "distance_matrix": "2",
    "representatives": "1",
    "labels": "2",
    "emitted_event": "1",
    "report": "4",
}

# What the event says of the algorithm that made it: PostHog's, k-means chosen by its silhouette.
# Readers may filter on it: raise it when they have to tell another algorithm apart.
CLUSTERING_VERSION = "v1"
