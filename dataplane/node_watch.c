/* Keeping track of nodes that failed. Runs on the main thread, but for node_watch_failed,
 * node_watch_doubt and node_watch_serves, which touch atomics, the caller's counters and the
 * mailbox only. It must never hold up anybody: whoever reports a node has gone on to the next one
 * already. */
#include "dataplane/node_watch.h"

#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "common/list.h"
#include "common/log.h"
#include "common/mailbox.h"
#include "dataplane/metrics.h"
#include "dataplane/stream.h"
#include "dataplane/tls_stream.h"
#include "dataplane/topology_build.h"
#include "proto/cql_frame.h"

/* A node that takes longer than this to answer OPTIONS is none that clients should wait for. */
#define ANSWER_MS 2000

/* Spoken by every cluster; the answer is a sign of life whatever it says. */
#define PROBE_VERSION 4

enum probe_state {
    PROBE_WAITING,
    PROBE_ASKING,
    PROBE_OVER, /* freed by its own timer, as it may stand in one of its own callbacks */
};

/* One node that is down, from its failure to its next sign of life. */
struct probe {
    struct list link;
    struct node_watch *watch;
    struct node_health *health;
    struct topology_node node;
    enum probe_state state;
    bool is_doubt;      /* the node is believed up, but for the answer to this */
    uint32_t questions; /* asked in vain */
    struct stream stream;
    struct event *timer;
};

struct entry {
    struct list link;
    struct node_health *health;
    struct topology_node node;
    struct probe *probe; /* NULL: believed up, or its failure is still in the mailbox */
};

struct node_watch {
    struct stream_loop *loop;
    struct mailbox *mailbox;
    struct metrics_block *metrics;
    struct list entries;
};

struct report {
    struct mailbox_message message;
    struct node_watch *watch;
    struct node_health *health;
    bool is_doubt;
};

static enum metric down_gauge(const struct node_health *health)
{
    return health->cluster == CLUSTER_ORIGIN ? METRIC_NODES_DOWN_ORIGIN : METRIC_NODES_DOWN_TARGET;
}

static void tell_up(const struct node_health *health, struct metrics_block *metrics,
                    const char *because)
{
    metrics_add(metrics, down_gauge(health), -1);
    LOG_INFO("node_up", "cluster=%s node=%s because=\"%s\"", cluster_name(health->cluster),
             health->name, because);
}

static void tell_down(const struct node_health *health, struct metrics_block *metrics,
                      const char *reason)
{
    metrics_add(metrics, down_gauge(health), 1);
    LOG_WARN("node_down", "cluster=%s node=%s reason=\"%s\"", cluster_name(health->cluster),
             health->name, reason);
}

/* ---- asking ---- */

static struct entry *entry_of(struct node_watch *watch, const struct node_health *health)
{
    for (struct list *node = watch->entries.next; node != &watch->entries; node = node->next) {
        struct entry *entry = CONTAINER_OF(node, struct entry, link);
        if (entry->health == health)
            return entry;
    }
    return NULL;
}

static void arm(struct probe *probe, uint32_t after_ms)
{
    struct timeval after = {.tv_sec = after_ms / 1000,
                            .tv_usec = (suseconds_t)(after_ms % 1000) * 1000};
    CHECK(evtimer_add(probe->timer, &after) == 0);
}

static void free_probe(struct probe *probe)
{
    struct entry *entry = entry_of(probe->watch, probe->health);
    if (entry != NULL)
        entry->probe = NULL;
    stream_close(&probe->stream);
    event_free(probe->timer);
    node_health_put(probe->health);
    free(probe);
}

static void end_probe(struct probe *probe)
{
    stream_close(&probe->stream);
    probe->state = PROBE_OVER;
    arm(probe, 0);
}

/* Between half and all of the pause: many proxies must not ask in one instant. */
static void wait_to_ask(struct probe *probe)
{
    uint32_t failures = atomic_load_explicit(&probe->health->failures, memory_order_relaxed);
    uint32_t pause =
        node_health_pause_ms(failures > probe->questions ? failures : probe->questions);
    stream_close(&probe->stream);
    probe->state = PROBE_WAITING;
    arm(probe, pause / 2 + arc4random_uniform(pause / 2 + 1));
}

static void end_doubt(struct probe *probe)
{
    probe->is_doubt = false;
    atomic_store_explicit(&probe->health->is_doubted, false, memory_order_relaxed);
}

static void asked_in_vain(struct probe *probe, const char *reason)
{
    LOG_DEBUG("node_still_down", "cluster=%s node=%s reason=\"%s\"",
              cluster_name(probe->health->cluster), probe->health->name, reason);
    probe->questions++;
    if (probe->is_doubt && node_health_fail(probe->health))
        tell_down(probe->health, probe->watch->metrics, reason);
    end_doubt(probe);
    wait_to_ask(probe);
}

static size_t on_input(struct stream *stream, const uint8_t *data, size_t length,
                       struct chunk *whole, size_t *need)
{
    struct probe *probe = CONTAINER_OF(stream, struct probe, stream);
    (void)whole;
    (void)need;
    if (length < CQL_HEADER_BYTES)
        return 0;
    if (!cql_header_load(data).is_response) {
        asked_in_vain(probe, "what it sends is no CQL response");
        return 0;
    }
    if (node_health_recover(probe->health))
        tell_up(probe->health, probe->watch->metrics, "it answers");
    end_doubt(probe);
    end_probe(probe);
    return 0;
}

static void on_connected(struct stream *stream, const char *error)
{
    struct probe *probe = CONTAINER_OF(stream, struct probe, stream);
    uint8_t options[CQL_HEADER_BYTES];
    cql_header_store(options,
                     (struct cql_header){.version = PROBE_VERSION, .opcode = CQL_OPCODE_OPTIONS});
    if (error != NULL)
        asked_in_vain(probe, error);
    else if (!stream_write(stream, options, sizeof options))
        asked_in_vain(probe, "out of memory");
}

static void on_lost(struct stream *stream, const char *reason)
{
    asked_in_vain(CONTAINER_OF(stream, struct probe, stream), reason);
}

static void on_drained(struct stream *stream)
{
    (void)stream; /* nine bytes never fill it */
}

static const struct stream_handlers probe_handlers = {
    .on_input = on_input,
    .on_drained = on_drained,
    .on_connected = on_connected,
    .on_lost = on_lost,
};

static void ask(struct probe *probe)
{
    const char *error = NULL;
    probe->state = PROBE_ASKING;
    if (tls_stream_connect(&probe->stream, probe->health->cluster, &probe->node, &error))
        arm(probe, ANSWER_MS);
    else
        asked_in_vain(probe, error);
}

/* Nobody but this file refers to the node: no topology lists it any more. */
static bool is_forgotten(const struct entry *entry)
{
    uint32_t own = entry->probe == NULL ? 1 : 2;
    return atomic_load_explicit(&entry->health->references, memory_order_acquire) == own;
}

static void drop_entry(struct node_watch *watch, struct entry *entry)
{
    list_remove(&entry->link);
    if (entry->probe != NULL)
        free_probe(entry->probe);
    if (node_health_is_down(entry->health)) /* a node that is gone is not down */
        metrics_add(watch->metrics, down_gauge(entry->health), -1);
    node_health_put(entry->health);
    free(entry);
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    struct probe *probe = context;
    (void)fd;
    (void)what;
    /* A client was faster. */
    bool is_moot = !node_health_is_down(probe->health) && !probe->is_doubt;
    struct entry *entry = entry_of(probe->watch, probe->health);
    if (entry != NULL && is_forgotten(entry)) {
        drop_entry(probe->watch, entry);
    } else if (probe->state == PROBE_OVER || (probe->state == PROBE_WAITING && is_moot)) {
        free_probe(probe);
    } else if (probe->state == PROBE_WAITING) {
        ask(probe);
    } else {
        asked_in_vain(probe, "no answer in time");
    }
}

/* The node is down, or may be: begins to ask after it, unless that is under way. */
static void follow(struct node_watch *watch, struct node_health *health, bool is_doubt)
{
    struct entry *entry = entry_of(watch, health);
    if (entry == NULL || (!is_doubt && !node_health_is_down(health)))
        return;
    if (entry->probe != NULL) {
        if (is_doubt)
            end_doubt(entry->probe);
        if (entry->probe->state == PROBE_OVER) /* down again before it was put away */
            wait_to_ask(entry->probe);
        return;
    }
    struct probe *probe = calloc(1, sizeof *probe);
    CHECK(probe != NULL);
    probe->watch = watch;
    probe->health = node_health_get(health);
    probe->node = entry->node;
    stream_init(&probe->stream, watch->loop, &probe_handlers, STREAM_TO_CLUSTER + health->cluster);
    probe->timer = evtimer_new(watch->loop->base, on_timer, probe);
    CHECK(probe->timer != NULL);
    entry->probe = probe;
    probe->is_doubt = is_doubt;
    if (is_doubt)
        arm(probe, 0);
    else
        wait_to_ask(probe);
}

/* ---- reports ---- */

static void run_report(struct mailbox_message *message, void *owner)
{
    struct report *report = CONTAINER_OF(message, struct report, message);
    (void)owner;
    follow(report->watch, report->health, report->is_doubt);
    node_health_put(report->health);
    free(report);
}

static void post(struct node_watch *watch, struct node_health *health, bool is_doubt)
{
    struct report *report = malloc(sizeof *report);
    CHECK(report != NULL);
    *report = (struct report){
        .message = {.run = run_report},
        .watch = watch,
        .health = node_health_get(health),
        .is_doubt = is_doubt,
    };
    mailbox_post(watch->mailbox, &report->message);
}

void node_watch_failed(struct node_watch *watch, struct node_health *health,
                       struct metrics_block *metrics, const char *reason)
{
    if (health == NULL || !node_health_fail(health))
        return;
    tell_down(health, metrics, reason);
    post(watch, health, false);
}

void node_watch_doubt(struct node_watch *watch, struct node_health *health)
{
    if (health == NULL || node_health_is_down(health) ||
        atomic_exchange_explicit(&health->is_doubted, true, memory_order_relaxed))
        return;
    post(watch, health, true);
}

void node_watch_serves(struct node_health *health, struct metrics_block *metrics)
{
    if (health != NULL && node_health_confirm(health))
        tell_up(health, metrics, "it serves a client");
}

void node_watch_heed(struct node_watch *watch, enum cluster_id cluster, int port,
                     struct cql_cursor event)
{
    struct topology_node named;
    struct cql_span type = cql_read_string(&event);
    struct cql_span change = cql_read_string(&event);
    size_t length = cql_read_u8(&event);
    struct cql_span inet = {cql_cursor_take(&event, length), length};
    if (event.failed || !cql_span_equals(type, "STATUS_CHANGE") ||
        !topology_node_from_inet(&named, inet, port))
        return;
    for (struct list *node = watch->entries.next; node != &watch->entries; node = node->next) {
        struct entry *entry = CONTAINER_OF(node, struct entry, link);
        if (entry->health->cluster != cluster || strcmp(entry->health->name, named.name) != 0)
            continue;
        if (cql_span_equals(change, "DOWN")) {
            node_watch_failed(watch, entry->health, watch->metrics, "its cluster says so");
        } else if (cql_span_equals(change, "UP") && entry->probe != NULL &&
                   entry->probe->state == PROBE_WAITING) {
            arm(entry->probe, 0);
        }
        return;
    }
}

/* ---- the nodes there are ---- */

struct node_health *node_watch_find(struct node_watch *watch, enum cluster_id cluster,
                                    const struct topology_node *node)
{
    for (struct list *at = watch->entries.next; at != &watch->entries; at = at->next) {
        struct entry *known = CONTAINER_OF(at, struct entry, link);
        if (known->health->cluster == cluster && strcmp(known->health->name, node->name) == 0) {
            known->node = *node; /* behind an SNI proxy a name may move to another address */
            return node_health_get(known->health);
        }
    }
    struct entry *entry = calloc(1, sizeof *entry);
    CHECK(entry != NULL);
    entry->health = node_health_new(cluster, node->name);
    entry->node = *node;
    list_append(&watch->entries, &entry->link);
    return node_health_get(entry->health);
}

void node_watch_sweep(struct node_watch *watch)
{
    for (struct list *node = watch->entries.next, *next; node != &watch->entries; node = next) {
        struct entry *entry = CONTAINER_OF(node, struct entry, link);
        next = node->next;
        if (is_forgotten(entry))
            drop_entry(watch, entry);
    }
}

struct node_watch *node_watch_new(struct stream_loop *loop, struct mailbox *mailbox,
                                  struct metrics_block *metrics)
{
    struct node_watch *watch = calloc(1, sizeof *watch);
    CHECK(watch != NULL);
    *watch = (struct node_watch){.loop = loop, .mailbox = mailbox, .metrics = metrics};
    list_init(&watch->entries);
    return watch;
}

void node_watch_free(struct node_watch *watch)
{
    for (struct list *node; (node = list_first(&watch->entries)) != NULL;)
        drop_entry(watch, CONTAINER_OF(node, struct entry, link));
    free(watch);
}
