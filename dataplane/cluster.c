/* One cluster as the main thread sees it: whom to try, when to try again, and what is told of it. A
 * round goes through candidates (what is known, then the contact points) until one control
 * connection opens; it must never give up, and never take longer than
 * CLUSTER_CONNECTION_TIMEOUT_MS.
 *
 *   round:  names resolved → each candidate in turn (control_conn.c) → open
 *   open:   any failure → the next round after a pause */
#include "dataplane/cluster.h"

#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "dataplane/bundle.h"
#include "dataplane/cluster_settings.h"
#include "dataplane/config.h"
#include "dataplane/control_conn.h"
#include "dataplane/node_watch.h"
#include "dataplane/resolve.h"
#include "dataplane/text_list.h"
#include "dataplane/tls_store.h"
#include "dataplane/topology_build.h"

#define CONNECT_TIMEOUT_MS 2000 /* while there are other candidates */
#define RESOLVE_TIMEOUT_MS 2000 /* while there are other candidates */
#define REASON_BYTES       512

struct cluster {
    struct stream_loop *loop;
    const struct config *config;
    enum cluster_id id;
    struct node_watch *watch;
    struct cluster_settings settings;
    const struct tls_store *tls;
    void (*on_topology)(void *context, struct topology *topology);
    void *context;

    /* This round. */
    struct resolve *resolve;
    struct node_list candidates;
    size_t candidate; /* being tried */
    uint64_t round_deadline_ns;
    struct bundle_fetch *fetch;
    unsigned failed_rounds;
    struct event *round_timer;   /* start a round */
    struct event *resolve_timer; /* names take too long */

    struct control_hooks hooks;
    struct control_conn conn;

    /* What outlives connections. */
    char datacenter[256];
    struct topology *topology; /* the last one, for its known hosts; NULL before the first */
    char address[64];
    int failure_count;
};

static size_t proxy_count(const struct config *config)
{
    const char *at = config->proxy_addresses;
    char item[64];
    size_t count = 0;
    while (text_list_next(&at, item, sizeof item))
        count++;
    return count == 0 ? 1 : count;
}

/* ---- rounds ---- */

static void arm(struct event *timer, uint64_t after_ms)
{
    struct timeval after = {.tv_sec = (time_t)(after_ms / 1000),
                            .tv_usec = (suseconds_t)(after_ms % 1000 * 1000)};
    int result = evtimer_add(timer, &after);
    CHECK(result == 0);
}

static uint64_t round_left_ms(const struct cluster *cluster)
{
    uint64_t now = clock_now_ns();
    return now >= cluster->round_deadline_ns ? 0 : (cluster->round_deadline_ns - now) / NS_PER_MS;
}

/* Between half and all of min * factor^n, at most max: many proxies must not come back in one
 * instant. */
static uint64_t retry_delay_ms(const struct cluster *cluster)
{
    const struct config *config = cluster->config;
    double most = config->heartbeat_retry_interval_max_ms;
    double wait = config->heartbeat_retry_interval_min_ms;
    for (unsigned i = 0; i < cluster->failed_rounds && i < 1000 && wait < most; i++)
        wait *= config->heartbeat_retry_backoff_factor;
    uint64_t delay = (uint64_t)(wait < most ? wait : most);
    return delay / 2 + arc4random_uniform((uint32_t)(delay / 2 + 1));
}

static void schedule_round(struct cluster *cluster)
{
    arm(cluster->round_timer, retry_delay_ms(cluster));
    cluster->failed_rounds++;
}

static void round_failed(struct cluster *cluster, const char *reason)
{
    char quoted[REASON_BYTES];
    cluster->failure_count++;
    LOG_WARN("control_connection_failed", "cluster=%s tried=%zu failures=%d reason=%s",
             cluster_name(cluster->id), cluster->candidates.count, cluster->failure_count,
             log_quote(quoted, sizeof quoted, reason, strlen(reason)));
    schedule_round(cluster);
}

static void try_candidate(struct cluster *cluster)
{
    bool is_last = cluster->candidate + 1 >= cluster->candidates.count;
    control_conn_open(&cluster->conn, &cluster->candidates.nodes[cluster->candidate],
                      is_last ? round_left_ms(cluster) + 1 : CONNECT_TIMEOUT_MS,
                      cluster->round_deadline_ns);
}

static void try_candidates(struct cluster *cluster)
{
    if (cluster->candidates.count == 0) {
        char reason[160];
        snprintf(reason, sizeof reason, "%s_CASSANDRA_CONTACT_POINTS %s", cluster->settings.prefix,
                 cluster->settings.contact_points[0] == '\0' ? "is empty"
                                                             : "resolves to no address");
        round_failed(cluster, reason);
        return;
    }
    cluster->candidate = 0;
    try_candidate(cluster);
}

/* Adds nodes, beginning at a random one. */
static void add_candidates(struct cluster *cluster, const struct topology_node *nodes, size_t count)
{
    size_t start = count == 0 ? 0 : arc4random_uniform((uint32_t)count);
    for (size_t i = 0; i < count; i++)
        node_list_add(&cluster->candidates, &nodes[(start + i) % count]);
}

static void on_resolved(void *context, const struct node_list *nodes)
{
    struct cluster *cluster = context;
    cluster->resolve = NULL;
    evtimer_del(cluster->resolve_timer);
    add_candidates(cluster, nodes->nodes, nodes->count);
    try_candidates(cluster);
}

static void on_resolve_timer(evutil_socket_t fd, short what, void *context)
{
    struct cluster *cluster = context;
    (void)fd;
    (void)what;
    resolve_cancel(cluster->resolve);
    cluster->resolve = NULL;
    if (cluster->fetch != NULL && cluster->candidates.count == 0) {
        round_failed(cluster, "the metadata service of the bundle does not answer in time");
        bundle_fetch_cancel(cluster->fetch);
        cluster->fetch = NULL;
        return;
    }
    bundle_fetch_cancel(cluster->fetch);
    cluster->fetch = NULL;
    try_candidates(cluster);
}

/* What it tells replaces what was known: the SNI proxy may have moved. */
static void on_metadata(void *context, const struct bundle_metadata *metadata)
{
    struct cluster *cluster = context;
    cluster->fetch = NULL;
    evtimer_del(cluster->resolve_timer);
    if (metadata->error != NULL && cluster->candidates.count == 0) {
        round_failed(cluster, metadata->error);
        return;
    }
    if (metadata->error == NULL) {
        if (cluster->datacenter[0] == '\0')
            snprintf(cluster->datacenter, sizeof cluster->datacenter, "%s", metadata->datacenter);
        node_list_fini(&cluster->candidates);
        add_candidates(cluster, metadata->nodes->nodes, metadata->nodes->count);
    }
    try_candidates(cluster);
}

/* Asks where the nodes of the bundle are, at first and when those known do not answer. */
static bool asks_metadata(struct cluster *cluster)
{
    const struct bundle *bundle = tls_store_bundle(cluster->tls, cluster->id);
    if (bundle == NULL || (cluster->candidates.count > 0 && cluster->failed_rounds < 2))
        return false;
    cluster->fetch = bundle_fetch_start(cluster->loop->base, bundle, on_metadata, cluster);
    if (cluster->fetch == NULL)
        return false;
    arm(cluster->resolve_timer, round_left_ms(cluster) + 1);
    return true;
}

static void on_round(evutil_socket_t fd, short what, void *context)
{
    struct cluster *cluster = context;
    const char *contact_points = cluster->settings.contact_points;
    int port = cluster->settings.port;
    (void)fd;
    (void)what;
    cluster->round_deadline_ns =
        clock_now_ns() + cluster->settings.connection_timeout_ms * NS_PER_MS;
    node_list_fini(&cluster->candidates);
    if (cluster->topology != NULL) {
        const struct topology *known = cluster->topology;
        add_candidates(cluster, known->nodes, known->node_count);
        add_candidates(cluster, known->spare_nodes, known->spare_count);
    }
    if (asks_metadata(cluster))
        return;
    struct node_list literals = {0};
    bool has_names = resolve_literals(contact_points, port, &literals);
    add_candidates(cluster, literals.nodes, literals.count);
    node_list_fini(&literals);
    if (has_names) {
        cluster->resolve =
            resolve_start(cluster->loop->base, contact_points, port, on_resolved, cluster);
        if (cluster->resolve != NULL) {
            arm(cluster->resolve_timer,
                cluster->candidates.count > 0 ? RESOLVE_TIMEOUT_MS : round_left_ms(cluster) + 1);
            return;
        }
    }
    try_candidates(cluster);
}

/* ---- what the control connection tells ---- */

static struct node_health *find_health(void *context, const struct topology_node *node)
{
    struct cluster *cluster = context;
    return node_watch_find(cluster->watch, cluster->id, node);
}

/* Served all the same: a cluster may have been built anew while it was not in use. */
static void warn_of_another_name(const struct cluster *cluster, const struct topology *topology)
{
    char before[300], now[300];
    if (cluster->topology == NULL ||
        strcmp(cluster->topology->cluster_title, topology->cluster_title) == 0)
        return;
    const char *title = cluster->topology->cluster_title;
    LOG_WARN("cluster_renamed", "cluster=%s before=%s now=%s", cluster_name(cluster->id),
             log_quote(before, sizeof before, title, strlen(title)),
             log_quote(now, sizeof now, topology->cluster_title, strlen(topology->cluster_title)));
}

static bool on_read(void *context, const struct control_facts *read, struct dynbuf *reason)
{
    struct cluster *cluster = context;
    const struct config *config = cluster->config;
    struct topology_facts facts = {
        .cluster = cluster->id,
        .requires_authentication = read->requires_authentication,
        .protocol_version = read->protocol_version,
        .endpoint = cluster->conn.node,
        .port = cluster->settings.port,
        .known = cluster->candidates.nodes,
        .known_count = cluster->candidates.count,
        .is_assigned = cluster->settings.is_assigned,
        .local_datacenter = cluster->settings.local_datacenter,
        .proxy_index = (size_t)config->proxy_index,
        .proxy_count = proxy_count(config),
        .seed = (uint64_t)arc4random() << 32 | arc4random(),
        .local = read->local,
        .peers = read->peers,
        .supported = read->supported,
        .find_health = find_health,
        .context = cluster,
    };
    bool is_refresh = cluster->conn.is_open;
    struct topology *topology = topology_build(&facts, cluster->datacenter, reason);
    if (topology == NULL)
        return false;
    warn_of_another_name(cluster, topology);
    topology_put(cluster->topology);
    cluster->topology = topology;
    node_watch_sweep(cluster->watch);
    char title[300], place[300];
    log_quote(title, sizeof title, topology->cluster_title, strlen(topology->cluster_title));
    log_quote(place, sizeof place, cluster->datacenter, strlen(cluster->datacenter));
    LOG_INFO(is_refresh ? "topology_refreshed" : "control_connection_open",
             "cluster=%s address=%s protocol=%u authentication=%s cluster_name=%s datacenter=%s "
             "hosts=%zu assigned=%zu",
             cluster_name(cluster->id), facts.endpoint.name, facts.protocol_version,
             facts.requires_authentication ? "yes" : "no", title, place, topology->host_count,
             topology->node_count);
    if (!is_refresh) {
        cluster->failure_count = 0;
        snprintf(cluster->address, sizeof cluster->address, "%s", facts.endpoint.name);
    }
    cluster->on_topology(cluster->context, topology);
    return true;
}

static void on_alive(void *context)
{
    struct cluster *cluster = context;
    cluster->failed_rounds = 0;
}

static void on_event(void *context, struct cql_cursor body)
{
    struct cluster *cluster = context;
    node_watch_heed(cluster->watch, cluster->id, cluster->settings.port, body);
}

static void on_failed(void *context, int64_t open_ms, const char *reason)
{
    struct cluster *cluster = context;
    char quoted[REASON_BYTES];
    log_quote(quoted, sizeof quoted, reason, strlen(reason));
    if (open_ms >= 0) {
        cluster->failure_count++;
        LOG_WARN("control_connection_lost", "cluster=%s address=%s failures=%d reason=%s",
                 cluster_name(cluster->id), cluster->address, cluster->failure_count, quoted);
        /* A node that accepts and drops connections in a loop must not make us spin. */
        if (open_ms >= cluster->config->heartbeat_retry_interval_max_ms)
            cluster->failed_rounds = 0;
        schedule_round(cluster);
        return;
    }
    cluster->candidate++;
    if (cluster->candidate >= cluster->candidates.count || round_left_ms(cluster) == 0) {
        char text[REASON_BYTES];
        snprintf(text, sizeof text, "%s: %.400s", cluster->conn.node.name, reason);
        round_failed(cluster, text);
        return;
    }
    LOG_INFO("control_connection_attempt_failed", "cluster=%s address=%s reason=%s",
             cluster_name(cluster->id), cluster->conn.node.name, quoted);
    try_candidate(cluster);
}

/* ---- public ---- */

struct cluster *cluster_new(struct stream_loop *loop, const struct config *config,
                            const struct tls_store *tls, enum cluster_id id,
                            struct node_watch *watch,
                            void (*on_topology)(void *context, struct topology *topology),
                            void *context)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    CHECK(cluster != NULL);
    cluster->loop = loop;
    cluster->config = config;
    cluster->tls = tls;
    cluster->id = id;
    cluster->watch = watch;
    cluster->settings = cluster_settings(config, id);
    cluster->on_topology = on_topology;
    cluster->context = context;
    cluster->hooks = (struct control_hooks){
        .context = cluster,
        .on_read = on_read,
        .on_alive = on_alive,
        .on_event = on_event,
        .on_failed = on_failed,
    };
    control_conn_init(&cluster->conn, loop, &cluster->hooks, id, cluster->settings, config);
    cluster->round_timer = evtimer_new(loop->base, on_round, cluster);
    cluster->resolve_timer = evtimer_new(loop->base, on_resolve_timer, cluster);
    CHECK(cluster->round_timer != NULL && cluster->resolve_timer != NULL);
    snprintf(cluster->address, sizeof cluster->address, "NOT_CONNECTED");
    arm(cluster->round_timer, 0);
    return cluster;
}

void cluster_hurry(struct cluster *cluster)
{
    if (!evtimer_pending(cluster->round_timer, NULL))
        return;
    cluster->failed_rounds = 0;
    arm(cluster->round_timer, 0);
}

void cluster_free(struct cluster *cluster)
{
    if (cluster == NULL)
        return;
    control_conn_fini(&cluster->conn);
    resolve_cancel(cluster->resolve);
    bundle_fetch_cancel(cluster->fetch);
    node_list_fini(&cluster->candidates);
    event_free(cluster->round_timer);
    event_free(cluster->resolve_timer);
    topology_put(cluster->topology);
    free(cluster);
}

void cluster_status(const struct cluster *cluster, struct cluster_status *status)
{
    *status = (struct cluster_status){
        .failure_count = cluster->failure_count,
        .failure_threshold = cluster->config->heartbeat_failure_threshold,
        /* Not is_open: failures below the threshold are forgiven. */
        .is_up = cluster->topology != NULL &&
                 cluster->failure_count < cluster->config->heartbeat_failure_threshold,
    };
    snprintf(status->address, sizeof status->address, "%s", cluster->address);
}
