/* The opening of an upstream: a race between the nodes of a cluster. The first choice gets a short
 * head start; each node that has not answered STARTUP by the end of it is joined by the next one,
 * and a node that fails is followed by the next one at once. The first answer to STARTUP wins and
 * the others are let go of. So a node that is gone, or accepts connections and then says nothing,
 * costs a client one head start, and what was learnt of it (node_watch) spares the next client even
 * that.
 *
 *   order: assigned nodes from the round robin's turn on, spare nodes, nodes believed down
 *
 * Exists only while the upstream opens. Runs on the session's worker. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "common/list.h"

struct metrics_node;
struct opening;
struct topology_node;
struct upstream;

/* What the outcome of an opening is made of. */
struct opening_result {
    const uint8_t *answer; /* the winner's to STARTUP, one whole frame, valid during the call; its
                              connection is upstream->stream now. NULL: nobody won */
    size_t length;
    const struct topology_node *node; /* the winner, or the last one tried; NULL: none */
    struct metrics_node *metrics;
    const char *error; /* nobody won: why the last one did not */
};

/* Begins to open upstream->topology's nodes, until deadline_ns at the latest. The outcome comes by
 * upstream_on_opened, once, possibly before this returns; the opening is over then, and gone at the
 * end of the turn. Until then it is upstream->opening. false: out of memory, no outcome will come.
 */
MUST_CHECK bool opening_start(struct upstream *upstream, size_t turn, uint64_t deadline_ns);
/* Gives up without an outcome. NULL is allowed. */
void opening_cancel(struct opening *opening);
/* The time asked for by upstream_watch has come. */
void opening_on_deadline(struct opening *opening);
/* Frees the openings on worker->spent. */
void opening_reap(struct list *spent);
