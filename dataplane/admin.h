/* The data plane's HTTP endpoint (evhttp on the main thread): /metrics, /health/liveness,
 * /health/readiness. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/cluster.h"
#include "dataplane/metrics.h"

struct admin;
struct config;
struct event_base;

enum admin_phase { ADMIN_STARTING, ADMIN_SERVING, ADMIN_DRAINING };

struct admin_status {
    enum admin_phase phase;
    enum cluster_id primary;
    bool has_cluster[CLUSTER_COUNT]; /* false: no control connection was ever tried (its side is
                                        null) */
    struct cluster_status clusters[CLUSTER_COUNT];
    bool
        is_idle[CLUSTER_COUNT]; /* not in use by the routing state: readiness does not ask for it */
    struct metrics_process process;
};

/* Listens on PROXY_METRICS_ADDRESS:PROXY_METRICS_PORT (a failure is logged, and returns NULL:
 * traffic matters more). read_status is asked at every request. */
struct admin *admin_new(struct event_base *base, const struct config *config,
                        void (*read_status)(void *context, struct admin_status *status),
                        void *context);
int admin_port(const struct admin *admin); /* the port in use, also when PROXY_METRICS_PORT is 0 */
void admin_free(struct admin *admin);      /* NULL is allowed */
