from trace_clustering_dagster_tests.support.labeled import deployment, stored

__all__ = ["deployment", "stored"]  # fixtures
