/* Paging states that name the cluster they come from, so that the next page is asked of that
 * cluster whatever the primary is by then. Pure.
 *
 * A tag of PAGING_TAG_BYTES stands before the cluster's own state; it says all there is to know, so
 * it works on another connection, after a restart and through another proxy. */
#pragma once

#include "common/check.h"
#include "dataplane/cluster_id.h"
#include "proto/cql_cursor.h"

#define PAGING_TAG_BYTES 8

/* The tag of cluster: PAGING_TAG_BYTES bytes. */
const uint8_t *paging_tag(enum cluster_id cluster);

/* Whether state has a tag; *cluster is the one that issued it. */
MUST_CHECK bool paging_tag_read(struct cql_span state, enum cluster_id *cluster);
