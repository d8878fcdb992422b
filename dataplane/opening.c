/* The race. Attempts are streams of their own; the winner's connection moves to the upstream. Runs
 * on the session's worker; nothing here is on the path of requests. An opening is never freed in
 * one of its own callbacks: it goes to worker->spent. */
#include "dataplane/opening.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "dataplane/assign.h"
#include "dataplane/node_watch.h"
#include "dataplane/session.h"
#include "dataplane/tls_stream.h"
#include "dataplane/worker.h"
#include "proto/cql_response.h"

/* The head start of each node: several times what a TCP and TLS handshake and STARTUP take within a
 * region, little beside the seconds a driver waits. */
#define HEAD_START_MS 200

/* Nodes in the race at once, and how long one of them keeps its place when more wait: a rack of
 * silent nodes must not open connections without bound, nor keep out the one that answers. */
#define ATTEMPTS_MAX 4
#define ATTEMPT_MS   2000

/* All nodes have failed: tried again after a pause, as long as the whole opening is this young. A
 * driver whose connection is refused knows by itself when to come back; this is only for the moment
 * in which a single node restarts. */
#define PATIENCE_MS 1000
#define PAUSE_MS    250

struct attempt {
    struct opening *opening;
    struct stream stream; /* closed: the place is free */
    const struct topology_node *node;
    struct metrics_node *metrics;
    uint64_t began_ns;
};

struct opening {
    struct list spent;
    struct upstream *upstream; /* NULL: over */
    uint32_t *order;
    bool *is_down;
    size_t count;
    size_t next;     /* of order: who joins next */
    bool is_resting; /* all have failed: between two passes */
    uint64_t began_ns, deadline_ns;
    uint64_t join_ns; /* when the next one joins */
    size_t turn;
    const struct topology_node *first, *last; /* tried */
    struct metrics_node *last_metrics;
    char error[128];
    struct attempt attempts[ATTEMPTS_MAX];
};

static struct worker *worker_of(const struct opening *opening)
{
    return opening->upstream->session->worker;
}

static uint64_t now_of(const struct opening *opening)
{
    return worker_now(worker_of(opening));
}

static const struct topology_node *candidate(const struct topology *topology, size_t index)
{
    return index < topology->node_count ? &topology->nodes[index]
                                        : &topology->spare_nodes[index - topology->node_count];
}

/* ---- the end ---- */

static void retire(struct opening *opening)
{
    struct worker *worker = worker_of(opening);
    for (size_t i = 0; i < ATTEMPTS_MAX; i++)
        stream_close(&opening->attempts[i].stream);
    opening->upstream->opening = NULL;
    opening->upstream = NULL;
    list_append(&worker->spent, &opening->spent);
}

static void end_without_winner(struct opening *opening)
{
    struct upstream *upstream = opening->upstream;
    struct opening_result result = {
        .node = opening->last,
        .metrics = opening->last_metrics,
        .error = opening->error,
    };
    retire(opening);
    upstream_on_opened(upstream, &result);
}

/* ---- one node ---- */

static void count_failure(struct opening *opening, const struct attempt *attempt,
                          const char *reason)
{
    struct worker *worker = worker_of(opening);
    snprintf(opening->error, sizeof opening->error, "%s", reason);
    metrics_bump(&attempt->metrics->values[NODE_FAILED_CONNECTIONS], 1);
    node_watch_failed(worker->shared->watch, attempt->node->health, worker->metrics, reason);
}

/* Free places have a closed stream. */
static struct attempt *free_place(struct opening *opening)
{
    for (size_t i = 0; i < ATTEMPTS_MAX; i++)
        if (!stream_is_open(&opening->attempts[i].stream))
            return &opening->attempts[i];
    return NULL;
}

static struct attempt *oldest_attempt(struct opening *opening)
{
    struct attempt *oldest = NULL;
    for (size_t i = 0; i < ATTEMPTS_MAX; i++) {
        struct attempt *attempt = &opening->attempts[i];
        if (stream_is_open(&attempt->stream) &&
            (oldest == NULL || attempt->began_ns < oldest->began_ns))
            oldest = attempt;
    }
    return oldest;
}

/* false: failed at once, and counted. */
static bool begin_attempt(struct opening *opening, struct attempt *attempt,
                          const struct topology_node *node)
{
    struct worker *worker = worker_of(opening);
    const char *error = NULL;
    attempt->node = node;
    attempt->metrics = metrics_node(worker->metrics, upstream_pool(opening->upstream), node->name);
    attempt->began_ns = now_of(opening);
    if (opening->first == NULL)
        opening->first = node;
    opening->last = node;
    opening->last_metrics = attempt->metrics;
    if (tls_stream_connect(&attempt->stream, opening->upstream->cluster, node, &error))
        return true;
    count_failure(opening, attempt, error);
    return false;
}

/* ---- the field ---- */

static void sort_candidates(struct opening *opening)
{
    const struct topology *topology = opening->upstream->topology;
    for (size_t i = 0; i < opening->count; i++) {
        const struct topology_node *node = candidate(topology, i);
        opening->is_down[i] =
            node_health_is_down(node->health) || upstream_has_failed_on(opening->upstream, node);
    }
    assign_order(opening->order, topology->node_count, topology->spare_count, opening->turn,
                 opening->is_down);
    opening->next = 0;
}

/* All candidates have had their turn and failed. */
static void end_pass(struct opening *opening)
{
    uint64_t now = now_of(opening);
    if (opening->upstream->is_reopening || now + PAUSE_MS * NS_PER_MS >= opening->deadline_ns ||
        now - opening->began_ns >= PATIENCE_MS * NS_PER_MS) {
        end_without_winner(opening);
        return;
    }
    opening->is_resting = true;
    upstream_watch(opening->upstream, now + PAUSE_MS * NS_PER_MS);
}

static void watch(struct opening *opening)
{
    bool has_next = opening->next < opening->count;
    upstream_watch(opening->upstream, has_next && opening->join_ns < opening->deadline_ns
                                          ? opening->join_ns
                                          : opening->deadline_ns);
}

/* Lets the next candidate join that does not fail at once. */
static void join_next(struct opening *opening)
{
    const struct topology *topology = opening->upstream->topology;
    while (opening->next < opening->count) {
        struct attempt *place = free_place(opening);
        if (place == NULL) {
            place = oldest_attempt(opening);
            if (now_of(opening) < place->began_ns + ATTEMPT_MS * NS_PER_MS) {
                opening->join_ns = place->began_ns + ATTEMPT_MS * NS_PER_MS;
                break;
            }
            stream_close(&place->stream);
            count_failure(opening, place, "no answer to the connection attempt");
        }
        size_t index = opening->order[opening->next++];
        if (begin_attempt(opening, place, candidate(topology, index))) {
            opening->join_ns = now_of(opening) + HEAD_START_MS * NS_PER_MS;
            break;
        }
    }
    if (oldest_attempt(opening) == NULL)
        end_pass(opening);
    else
        watch(opening);
}

/* One of the field is out; its stream is closed. */
static void drop_out(struct attempt *attempt, const char *reason)
{
    struct opening *opening = attempt->opening;
    count_failure(opening, attempt, reason);
    join_next(opening);
}

/* The nodes that had their head start and were overtaken are tried last from now on. */
static void leave_behind(struct opening *opening, const struct attempt *winner)
{
    char reason[128];
    for (size_t i = 0; i < ATTEMPTS_MAX; i++) {
        struct attempt *attempt = &opening->attempts[i];
        uint64_t age = now_of(opening) - attempt->began_ns;
        if (attempt == winner || !stream_is_open(&attempt->stream))
            continue;
        stream_close(&attempt->stream);
        if (age < HEAD_START_MS * NS_PER_MS)
            continue;
        snprintf(reason, sizeof reason, "no answer for %u ms while %s answered",
                 (unsigned)(age / NS_PER_MS), winner->node->name);
        count_failure(opening, attempt, reason);
    }
}

static void win(struct attempt *attempt, const uint8_t *answer, size_t length)
{
    struct opening *opening = attempt->opening;
    struct upstream *upstream = opening->upstream;
    struct opening_result result = {
        .length = length,
        .node = attempt->node,
        .metrics = attempt->metrics,
        .error = "out of memory",
    };
    leave_behind(opening, attempt);
    if (attempt->node != opening->first) {
        bool is_origin = upstream->cluster == CLUSTER_ORIGIN;
        metrics_add(worker_of(opening)->metrics,
                    is_origin ? METRIC_FAILOVERS_ORIGIN : METRIC_FAILOVERS_TARGET, 1);
        LOG_INFO("upstream_failed_over",
                 "client=%s cluster=%s from=%s to=%s after_ms=%u reason=\"%s\"",
                 upstream->session->peer, cluster_name(upstream->cluster), opening->first->name,
                 attempt->node->name, (unsigned)((now_of(opening) - opening->began_ns) / NS_PER_MS),
                 opening->error);
    }
    if (stream_move(&upstream->stream, &attempt->stream))
        result.answer = answer;
    retire(opening);
    upstream_on_opened(upstream, &result);
}

/* ---- streams of attempts ---- */

/* Says no for itself, not for its cluster: another node may well say yes. */
static bool is_nodes_own_trouble(struct cql_header header, const uint8_t *body, char reason[64])
{
    if (header.opcode != CQL_OPCODE_ERROR)
        return false;
    struct cql_cursor cursor = cql_open_response(header, body);
    int32_t code = cql_read_i32(&cursor);
    snprintf(reason, 64, "answered STARTUP with error 0x%04x %s", (unsigned)code,
             cql_error_name(code));
    return !cursor.failed && (code == CQL_ERROR_OVERLOADED || code == CQL_ERROR_IS_BOOTSTRAPPING);
}

static size_t on_input(struct stream *stream, const uint8_t *data, size_t length,
                       struct chunk *whole, size_t *need)
{
    struct attempt *attempt = CONTAINER_OF(stream, struct attempt, stream);
    struct opening *opening = attempt->opening;
    char reason[64];
    (void)whole;
    (void)need;
    if (length < CQL_HEADER_BYTES)
        return 0;
    struct cql_header header = cql_header_load(data);
    size_t total = CQL_HEADER_BYTES + (size_t)header.body_length;
    if (!header.is_response || !cql_opcode_is_response(header.opcode) ||
        total > STREAM_WHOLE_FRAME) {
        stream_close(stream);
        drop_out(attempt, "sent a malformed frame during the handshake");
        return 0;
    }
    if (length < total)
        return 0;
    bool has_others = opening->next < opening->count;
    if (length > total) {
        stream_close(stream);
        drop_out(attempt, "said more than it was asked");
    } else if (is_nodes_own_trouble(header, data + CQL_HEADER_BYTES, reason) && has_others) {
        stream_close(stream);
        drop_out(attempt, reason);
    } else {
        win(attempt, data, length);
    }
    return 0;
}

static void on_connected(struct stream *stream, const char *error)
{
    struct attempt *attempt = CONTAINER_OF(stream, struct attempt, stream);
    if (error != NULL) {
        drop_out(attempt, error);
    } else if (!upstream_send_startup(attempt->opening->upstream, stream)) {
        stream_close(stream);
        drop_out(attempt, "out of memory");
    }
}

static void on_lost(struct stream *stream, const char *reason)
{
    drop_out(CONTAINER_OF(stream, struct attempt, stream), reason);
}

static void on_drained(struct stream *stream)
{
    (void)stream; /* nothing waits for it */
}

static const struct stream_handlers attempt_handlers = {
    .on_input = on_input,
    .on_drained = on_drained,
    .on_connected = on_connected,
    .on_lost = on_lost,
};

/* ---- public ---- */

bool opening_start(struct upstream *upstream, size_t turn, uint64_t deadline_ns)
{
    struct worker *worker = upstream->session->worker;
    struct opening *opening = calloc(1, sizeof *opening);
    if (opening == NULL)
        return false;
    opening->count = upstream->topology->node_count + upstream->topology->spare_count;
    opening->order = calloc(opening->count, sizeof *opening->order);
    opening->is_down = calloc(opening->count, sizeof *opening->is_down);
    if (opening->order == NULL || opening->is_down == NULL) {
        free(opening->order);
        free(opening->is_down);
        free(opening);
        return false;
    }
    list_init(&opening->spent);
    opening->upstream = upstream;
    opening->turn = turn;
    opening->began_ns = worker_now(worker);
    opening->deadline_ns = deadline_ns;
    for (size_t i = 0; i < ATTEMPTS_MAX; i++) {
        opening->attempts[i].opening = opening;
        stream_init(&opening->attempts[i].stream, &worker->loop, &attempt_handlers,
                    STREAM_TO_CLUSTER + upstream->cluster);
    }
    upstream->opening = opening;
    sort_candidates(opening);
    join_next(opening);
    return true;
}

void opening_cancel(struct opening *opening)
{
    if (opening != NULL)
        retire(opening);
}

void opening_on_deadline(struct opening *opening)
{
    if (now_of(opening) >= opening->deadline_ns) {
        for (size_t i = 0; i < ATTEMPTS_MAX; i++) {
            struct attempt *attempt = &opening->attempts[i];
            if (!stream_is_open(&attempt->stream))
                continue;
            stream_close(&attempt->stream);
            count_failure(opening, attempt, "no answer in time");
        }
        end_without_winner(opening);
        return;
    }
    if (opening->is_resting) {
        opening->is_resting = false;
        sort_candidates(opening);
    }
    join_next(opening);
}

void opening_reap(struct list *spent)
{
    for (struct list *node; (node = list_take_first(spent)) != NULL;) {
        struct opening *opening = CONTAINER_OF(node, struct opening, spent);
        free(opening->order);
        free(opening->is_down);
        free(opening);
    }
}
