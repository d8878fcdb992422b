/* Beliefs about nodes, changed by any thread. Relaxed order suffices: a belief carries no data with
 * it, and one that arrives late costs a client at most one more attempt. */
#include "dataplane/node_health.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/check.h"

/* A process that restarts is back in seconds: the first question comes soon. A node that keeps
 * answering questions but fails clients is left alone for longer and longer. */
#define PAUSE_FIRST_MS 500
#define PAUSE_LAST_MS  15000

struct node_health *node_health_new(enum cluster_id cluster, const char *name)
{
    struct node_health *health = calloc(1, sizeof *health);
    CHECK(health != NULL);
    atomic_init(&health->references, 1);
    health->cluster = cluster;
    snprintf(health->name, sizeof health->name, "%s", name);
    return health;
}

struct node_health *node_health_get(struct node_health *health)
{
    atomic_fetch_add_explicit(&health->references, 1, memory_order_relaxed);
    return health;
}

void node_health_put(struct node_health *health)
{
    if (health != NULL &&
        atomic_fetch_sub_explicit(&health->references, 1, memory_order_acq_rel) == 1)
        free(health);
}

bool node_health_fail(struct node_health *health)
{
    atomic_fetch_add_explicit(&health->failures, 1, memory_order_relaxed);
    return !atomic_exchange_explicit(&health->is_down, true, memory_order_relaxed);
}

bool node_health_recover(struct node_health *health)
{
    return node_health_is_down(health) &&
           atomic_exchange_explicit(&health->is_down, false, memory_order_relaxed);
}

bool node_health_confirm(struct node_health *health)
{
    if (atomic_load_explicit(&health->failures, memory_order_relaxed) != 0)
        atomic_store_explicit(&health->failures, 0, memory_order_relaxed);
    return node_health_recover(health);
}

uint32_t node_health_pause_ms(uint32_t failures)
{
    uint32_t doublings = failures == 0 ? 0 : failures - 1;
    if (doublings >= 5) /* 500 ms << 5 is over the last pause */
        return PAUSE_LAST_MS;
    return PAUSE_FIRST_MS << doublings;
}
