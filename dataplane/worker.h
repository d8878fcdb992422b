/* A worker: one thread with its own event_base, listener (SO_REUSEPORT), buffers, counters and
 * clients. Nothing in it is shared but what this header names; everything else reaches it through
 * its mailbox. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "common/cache_line.h"
#include "common/dynbuf.h"
#include "common/list.h"
#include "common/mailbox.h"
#include "dataplane/compression.h"
#include "dataplane/config.h"
#include "dataplane/edits.h"
#include "dataplane/function_source.h"
#include "dataplane/live.h"
#include "dataplane/metrics.h"
#include "dataplane/prepared.h"
#include "dataplane/request.h"
#include "dataplane/snapshot.h"
#include "dataplane/stream.h"
#include "dataplane/switching.h"
#include "dataplane/timing.h"
#include "dataplane/tls_stream.h"
#include "dataplane/topology.h"
#include "dataplane/trace_limit.h"
#include "dataplane/virtual.h"
#include "dataplane/write_timestamp.h"

struct evconnlistener;

/* What all workers of the process have in common. */
struct worker_shared {
    const struct config *config;
    const struct virtual_hosts *virtual_hosts;
    struct prepared_registry *prepared;
    struct tls_context *tls[TLS_SIDE_COUNT]; /* what new workers begin with; main thread */
    struct node_watch *watch;
    _Atomic int64_t clients;        /* being served now: at most live_settings.max_clients */
    _Atomic int64_t refused;        /* over that limit, waiting for their one answer */
    struct trace_limit trace_limit; /* of requests that get a tracing id */
    struct write_clock write_clock; /* stamps of writes without a client timestamp */
    _Atomic uint32_t next_session;  /* serial number of the next client */
    _Atomic uint32_t next_node[CLUSTER_COUNT]; /* round robin over assigned nodes, process-wide */
};

struct worker {
    _Alignas(CACHE_LINE_PAIR) struct worker_shared *shared; /* workers are an array */
    const struct config *config;
    unsigned index;
    pthread_t thread;
    struct event_base *base;
    struct mailbox *mailbox;
    struct evconnlistener *listener;
    bool is_draining;
    bool is_stopping;

    struct stream_loop loop;
    struct timing timing;
    struct tls_thread tls;
    struct list sessions; /* those surveyed last at the end */
    struct list watched;  /* upstreams with a step that may time out or wait for a retry */
    struct list
        deadlines;      /* requests awaiting an answer, oldest first: one timeout value, one FIFO */
    struct list doomed; /* sessions to free at the end of the turn */
    struct list spent;  /* openings to free at the end of the turn */
    uint64_t drain_deadline_ns;
    struct settle *settling; /* NULL: no wait for writes is under way */

    struct request_pool requests;
    struct prepared_cache prepared;
    struct metrics_block *metrics;
    struct snapshot *snapshot;
    struct live_settings live;                  /* of the snapshot */
    uint32_t shadow_turn;                       /* shadow.c: hundredths of a copy that are due */
    struct topology *topologies[CLUSTER_COUNT]; /* NULL: not reached yet, nor in use at the start */
    uint8_t versions;                           /* a set (versions.h): what new clients may speak */
    struct dynbuf supported;                    /* SUPPORTED body for the topologies in force */
    struct function_source function_source;     /* of the values that replace now() and the like */
    struct compression_room opened_request, opened_answer; /* compressed frames made plain */
    struct dynbuf reply;                                   /* body under construction */
    int64_t wall_us; /* dispatch.c: the system's clock, taken once a turn when it is needed */
    uint64_t wall_at_ns;
    struct edits edits;          /* dispatch.c: of the request at hand */
    struct dynbuf batch_handles; /* dispatch.c: prepared statements of the BATCH at hand */
    struct switching switching;  /* to the next routing state */
};

/* Makes the worker and its listener on PROXY_QUERY_ADDRESS:PROXY_QUERY_PORT. The snapshot and the
 * topologies are taken by reference; that of a cluster that is not in use may be NULL. false:
 * *error says what failed. */
MUST_CHECK bool worker_init(struct worker *worker, struct worker_shared *shared, unsigned index,
                            struct snapshot *snapshot,
                            struct topology *const topologies[CLUSTER_COUNT], struct dynbuf *error);
/* Starts the thread. */
MUST_CHECK bool worker_start(struct worker *worker);
/* Asks the thread to stop accepting, finish what is in flight and end; then worker_join. */
void worker_drain(struct worker *worker);
void worker_join(struct worker *worker);
void worker_fini(struct worker *worker);

/* Hands the worker a new snapshot; done runs on the worker's thread after it has switched. */
void worker_switch_snapshot(struct worker *worker, struct snapshot *snapshot,
                            void (*done)(void *context), void *context);
void worker_switch_topology(struct worker *worker, struct topology *topology);
/* New connections of that side use this context. */
void worker_switch_tls(struct worker *worker, enum tls_side side, struct tls_context *tls);

/* For sessions: what both clusters have prepared is remembered, and counted. Takes the caller's
 * reference. */
void worker_remember_prepared(struct worker *worker, struct prepared *prepared);

static inline uint64_t worker_now(const struct worker *worker)
{
    return worker->loop.now_ns;
}
