/* The two clusters of a migration. Index of every per-cluster array. */
#pragma once

enum cluster_id { CLUSTER_ORIGIN = 0, CLUSTER_TARGET = 1, CLUSTER_COUNT = 2 };

static inline const char *cluster_name(enum cluster_id cluster)
{
    return cluster == CLUSTER_ORIGIN ? "origin" : "target";
}

static inline enum cluster_id cluster_other(enum cluster_id cluster)
{
    return cluster == CLUSTER_ORIGIN ? CLUSTER_TARGET : CLUSTER_ORIGIN;
}
