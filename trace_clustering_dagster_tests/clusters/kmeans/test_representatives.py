"""Representatives: the nearest members, and nothing else."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trace_clustering_dagster.clusters.kmeans.representatives import nearest_members


@given(
    assignments=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    count=st.integers(1, 10),
    seed=st.integers(0, 2**32 - 1),
)
def test_nearest_members_of_each_cluster(assignments: list[int], count: int, seed: int) -> None:
    # few distinct distances, so that ties are common
    distances = np.random.default_rng(seed).integers(0, 3, (len(assignments), 4)).astype(np.float32)
    of = np.array(assignments, np.int32)
    chosen = nearest_members(distances, of, count)
    assert len(chosen) == 4
    for cluster, rows in enumerate(chosen):
        members = [row for row, own in enumerate(assignments) if own == cluster]
        expected = sorted(members, key=lambda row: (distances[row, cluster], row))[:count]
        assert rows.tolist() == expected
