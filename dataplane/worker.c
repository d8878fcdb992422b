/* Workers: the loop turn, accepting clients, and switching routing state between events. Each runs
 * on its own thread; other threads reach it by its mailbox only.
 *
 *   turn: events (read, decode, route; only queue) → input kept over a pause → what the clock asks
 * for (timing) → flush every dirty stream → reap */
#include "dataplane/worker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "dataplane/opening.h"
#include "dataplane/session.h"
#include "dataplane/settle.h"
#include "dataplane/supported.h"
#include "dataplane/tls_context.h"

/* Without file descriptors, accepting is tried again after this long. */
#define ACCEPT_PAUSE_NS (100 * NS_PER_MS)

/* Large frames of all sessions of one worker may hold this much. */
#define LARGE_BYTES_MAX ((size_t)256 * 1024 * 1024)

/* A refused client still gets an answer; beyond this many of them they are closed unanswered. */
#define REFUSED_MAX 256

/* ---- accepting ---- */

static void name_peer(char *text, size_t size, const struct sockaddr *address)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        snprintf(text, size, "%s:%u", host, ntohs(in->sin_port));
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        snprintf(text, size, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else {
        snprintf(text, size, "?");
    }
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
                      int length, void *context)
{
    struct worker *worker = context;
    char peer[64];
    (void)listener;
    (void)length;
    worker->loop.now_ns = clock_now_ns(); /* a worker without clients may have slept for hours */
    int64_t limit = worker->live.max_clients;
    name_peer(peer, sizeof peer, address);
    bool is_refused = atomic_fetch_add(&worker->shared->clients, 1) >= limit;
    if (is_refused) {
        atomic_fetch_sub(&worker->shared->clients, 1);
        LOG_WARN("client_refused", "client=%s reason=over_client_limit limit=%lld", peer,
                 (long long)limit);
    }
    if (is_refused && atomic_fetch_add(&worker->shared->refused, 1) >= REFUSED_MAX) {
        atomic_fetch_sub(&worker->shared->refused, 1);
        metrics_add(worker->metrics, METRIC_CLOSED_OVER_LIMIT, 1);
        close(fd);
        return;
    }
    if (session_new(worker, fd, peer, is_refused) == NULL) {
        atomic_fetch_sub(is_refused ? &worker->shared->refused : &worker->shared->clients, 1);
        LOG_ERROR("client_refused", "client=%s reason=out_of_memory", peer);
    }
}

/* Out of file descriptors, most likely: accepting again at once would spin. */
static void on_accept_error(struct evconnlistener *listener, void *context)
{
    struct worker *worker = context;
    LOG_ERROR("accept_failed", "worker=%u reason=\"%s\"", worker->index,
              strerror(EVUTIL_SOCKET_ERROR()));
    evconnlistener_disable(listener);
    worker->timing.accept_ns = clock_now_ns() + ACCEPT_PAUSE_NS;
}

/* ---- the loop ---- */

static void reap(struct worker *worker)
{
    for (struct list *node; (node = list_take_first(&worker->doomed)) != NULL;)
        session_free(CONTAINER_OF(node, struct session, doomed));
    opening_reap(&worker->spent);
}

static void check_drained(struct worker *worker)
{
    if (!worker->is_draining)
        return;
    if (worker_now(worker) >= worker->drain_deadline_ns) {
        for (struct list *node = worker->sessions.next, *next; node != &worker->sessions;
             node = next) {
            next = node->next;
            session_close(CONTAINER_OF(node, struct session, link), CLOSE_DRAINED,
                          "drain time is over");
        }
        reap(worker);
    }
    if (list_is_empty(&worker->sessions))
        worker->is_stopping = true;
}

static void *run(void *context)
{
    struct worker *worker = context;
    while (!worker->is_stopping) {
        bool has_more = !list_is_empty(&worker->loop.again) || worker->timing.is_surveying;
        timing_set_alarm(worker);
        event_base_loop(worker->base, EVLOOP_ONCE | (has_more ? EVLOOP_NONBLOCK : 0));
        worker->loop.now_ns = clock_now_ns();
        stream_loop_run_again(&worker->loop);
        timing_run(worker);
        stream_loop_flush(&worker->loop);
        reap(worker);
        check_drained(worker);
    }
    return NULL;
}

/* ---- messages ---- */

struct snapshot_message {
    struct mailbox_message message;
    struct snapshot *snapshot;
    void (*done)(void *context);
    void *context;
};

static void run_snapshot_message(struct mailbox_message *message, void *owner)
{
    struct snapshot_message *switching = CONTAINER_OF(message, struct snapshot_message, message);
    struct worker *worker = owner;
    worker->loop.now_ns = clock_now_ns();
    switching_begin(worker, switching->snapshot, switching->done, switching->context);
    free(switching);
}

void worker_switch_snapshot(struct worker *worker, struct snapshot *snapshot,
                            void (*done)(void *context), void *context)
{
    struct snapshot_message *switching = malloc(sizeof *switching);
    CHECK(switching != NULL);
    *switching = (struct snapshot_message){
        .message = {.run = run_snapshot_message},
        .snapshot = snapshot_get(snapshot),
        .done = done,
        .context = context,
    };
    mailbox_post(worker->mailbox, &switching->message);
}

struct topology_message {
    struct mailbox_message message;
    struct topology *topology;
};

/* What new clients may speak: what both clusters do, as far as they are known, and nobody has
 * blocked. */
static void make_offer(struct worker *worker)
{
    const struct topology *origin = worker->topologies[CLUSTER_ORIGIN];
    const struct topology *target = worker->topologies[CLUSTER_TARGET];
    origin = origin == NULL ? target : origin;
    target = target == NULL ? origin : target;
    CHECK(origin != NULL && target != NULL); /* one is in use, and was waited for */
    worker->versions =
        origin->versions & target->versions & (uint8_t)~worker->config->blocked_versions;
    supported_build(origin, target, worker->versions, &worker->supported);
}

static void run_topology_message(struct mailbox_message *message, void *owner)
{
    struct topology_message *switching = CONTAINER_OF(message, struct topology_message, message);
    struct worker *worker = owner;
    enum cluster_id cluster = switching->topology->cluster;
    worker->loop.now_ns = clock_now_ns();
    topology_put(worker->topologies[cluster]);
    worker->topologies[cluster] = switching->topology;
    make_offer(worker);
    for (struct list *node = worker->sessions.next; node != &worker->sessions; node = node->next)
        upstream_on_topology(&CONTAINER_OF(node, struct session, link)->upstreams[cluster]);
    free(switching);
}

void worker_switch_topology(struct worker *worker, struct topology *topology)
{
    struct topology_message *switching = malloc(sizeof *switching);
    CHECK(switching != NULL);
    *switching = (struct topology_message){
        .message = {.run = run_topology_message},
        .topology = topology_get(topology),
    };
    mailbox_post(worker->mailbox, &switching->message);
}

struct tls_message {
    struct mailbox_message message;
    enum tls_side side;
    struct tls_context *tls;
};

static void run_tls_message(struct mailbox_message *message, void *owner)
{
    struct tls_message *switching = CONTAINER_OF(message, struct tls_message, message);
    struct worker *worker = owner;
    tls_thread_switch(&worker->tls, switching->side, switching->tls);
    tls_context_put(switching->tls);
    free(switching);
}

void worker_switch_tls(struct worker *worker, enum tls_side side, struct tls_context *tls)
{
    struct tls_message *switching = malloc(sizeof *switching);
    CHECK(switching != NULL);
    *switching = (struct tls_message){
        .message = {.run = run_tls_message},
        .side = side,
        .tls = tls_context_get(tls),
    };
    mailbox_post(worker->mailbox, &switching->message);
}

static void run_drain_message(struct mailbox_message *message, void *owner)
{
    struct worker *worker = owner;
    free(message);
    worker->loop.now_ns = clock_now_ns();
    worker->is_draining = true;
    worker->drain_deadline_ns = worker_now(worker) + worker->live.request_timeout_ns + 2 * NS_PER_S;
    evconnlistener_free(worker->listener);
    worker->listener = NULL;
    for (struct list *node = worker->sessions.next, *next; node != &worker->sessions; node = next) {
        next = node->next;
        session_drain(CONTAINER_OF(node, struct session, link));
    }
}

void worker_drain(struct worker *worker)
{
    struct mailbox_message *message = malloc(sizeof *message);
    CHECK(message != NULL);
    *message = (struct mailbox_message){.run = run_drain_message};
    mailbox_post(worker->mailbox, message);
}

/* ---- making and unmaking ---- */

static bool read_address(const struct config *config, struct sockaddr_storage *address, int *length)
{
    char text[160];
    bool is_ipv6 = strchr(config->query_address, ':') != NULL;
    snprintf(text, sizeof text, is_ipv6 ? "[%s]:%d" : "%s:%d", config->query_address,
             config->query_port);
    *length = (int)sizeof *address;
    return evutil_parse_sockaddr_port(text, (struct sockaddr *)address, length) == 0;
}

bool worker_init(struct worker *worker, struct worker_shared *shared, unsigned index,
                 struct snapshot *snapshot, struct topology *const topologies[CLUSTER_COUNT],
                 struct dynbuf *error)
{
    struct sockaddr_storage address = {0};
    int length;
    *worker = (struct worker){.shared = shared, .config = shared->config, .index = index};
    struct event_config *settings = event_config_new();
    CHECK(settings != NULL);
    event_config_set_flag(settings, EVENT_BASE_FLAG_NOLOCK);
    worker->base = event_base_new_with_config(settings);
    event_config_free(settings);
    if (worker->base == NULL || !stream_loop_init(&worker->loop, worker->base, LARGE_BYTES_MAX) ||
        (worker->mailbox = mailbox_new(worker->base, worker)) == NULL || !timing_init(worker)) {
        dynbuf_printf(error, "worker %u could not be made: out of memory or file descriptors",
                      index);
        return false;
    }
    list_init(&worker->sessions);
    list_init(&worker->watched);
    list_init(&worker->deadlines);
    list_init(&worker->doomed);
    list_init(&worker->spent);
    request_pool_init(&worker->requests);
    prepared_cache_init(&worker->prepared, shared->prepared);
    dynbuf_init(&worker->supported, 65536);
    function_source_seed();
    function_source_init(&worker->function_source);
    dynbuf_init(&worker->reply, (size_t)16 * 1024 * 1024);
    edits_init(&worker->edits);
    dynbuf_init(&worker->batch_handles, 65536 * sizeof(void *));
    worker->metrics = metrics_block_new();
    tls_thread_init(&worker->tls, worker->metrics);
    for (int i = 0; i < TLS_SIDE_COUNT; i++)
        tls_thread_switch(&worker->tls, (enum tls_side)i, shared->tls[i]);
    worker->loop.tls = &worker->tls;
    switching_go_by(worker, snapshot_get(snapshot));
    for (int i = 0; i < CLUSTER_COUNT; i++)
        worker->topologies[i] = topologies[i] == NULL ? NULL : topology_get(topologies[i]);
    make_offer(worker);
    if (!read_address(worker->config, &address, &length)) {
        dynbuf_printf(error, "PROXY_QUERY_ADDRESS=%s is not an IP address",
                      worker->config->query_address);
        return false;
    }
    worker->listener = evconnlistener_new_bind(worker->base, on_accept, worker,
                                               LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC |
                                                   LEV_OPT_REUSEABLE | LEV_OPT_REUSEABLE_PORT,
                                               1024, (struct sockaddr *)&address, length);
    if (worker->listener == NULL) {
        dynbuf_printf(error, "cannot listen on PROXY_QUERY_ADDRESS=%s PROXY_QUERY_PORT=%d: %s",
                      worker->config->query_address, worker->config->query_port, strerror(errno));
        return false;
    }
    evconnlistener_set_error_cb(worker->listener, on_accept_error);
    return true;
}

bool worker_start(struct worker *worker)
{
    return pthread_create(&worker->thread, NULL, run, worker) == 0;
}

void worker_remember_prepared(struct worker *worker, struct prepared *prepared)
{
    struct prepared_change change = prepared_registry_add(worker->shared->prepared, prepared);
    prepared_put(prepared);
    metrics_add(worker->metrics, METRIC_PSCACHE_ENTRIES, change.entries);
    metrics_add(worker->metrics, METRIC_PSCACHE_EVICTIONS, change.evicted);
}

void worker_join(struct worker *worker)
{
    pthread_join(worker->thread, NULL);
}

void worker_fini(struct worker *worker)
{
    if (worker->listener != NULL)
        evconnlistener_free(worker->listener);
    timing_fini(worker);
    settle_free(worker->settling);
    mailbox_free(worker->mailbox);
    snapshot_put(worker->snapshot);
    switching_fini(worker);
    for (int i = 0; i < CLUSTER_COUNT; i++)
        topology_put(worker->topologies[i]);
    prepared_cache_fini(&worker->prepared);
    request_pool_fini(&worker->requests);
    dynbuf_fini(&worker->supported);
    dynbuf_fini(&worker->reply);
    edits_fini(&worker->edits);
    dynbuf_fini(&worker->batch_handles);
    compression_room_fini(&worker->opened_request);
    compression_room_fini(&worker->opened_answer);
    stream_loop_fini(&worker->loop);
    tls_thread_fini(&worker->tls);
    if (worker->base != NULL)
        event_base_free(worker->base);
}
