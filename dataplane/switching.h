/* A worker's way from one routing state to the next.
 *
 * When a cluster comes into use each client gets its connection to it before the new state is in
 * force: so nobody waits for handshakes, thousands at a time, nor for a cluster that does not
 * answer. All other changes are in force at once. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/cluster_id.h"

struct snapshot;
struct worker;

struct switching {
    struct snapshot *snapshot;  /* the new state, not in force yet; NULL: there is none */
    bool enters[CLUSTER_COUNT]; /* by it they come into use */
    uint32_t entering;          /* upstreams on their way to a cluster that comes into use */
    uint64_t by_ns;             /* it is in force then at the latest */
    void (*done)(void *context);
    void *context;
};

/* The snapshot's reference becomes the worker's. No client is there yet. */
void switching_go_by(struct worker *worker, struct snapshot *snapshot);
/* Begins to switch to snapshot, whose reference becomes the worker's; done is called when it is in
 * force, possibly at once. One at a time. */
void switching_begin(struct worker *worker, struct snapshot *snapshot, void (*done)(void *context),
                     void *context);
/* Once a turn while a new state waits: puts it in force if it is time. */
void switching_run(struct worker *worker);
void switching_fini(struct worker *worker);
