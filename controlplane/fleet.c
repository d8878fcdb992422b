/* The table of data planes behind one mutex; a condition variable wakes whoever waits for ACKs. Any
 * thread; never does I/O. */
#include "controlplane/fleet.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/list.h"
#include "controlplane/following.h"
#include "controlplane/rolling.h"

struct dataplane {
    struct list node;    /* in order of arrival; the disconnected in order of leaving */
    uint64_t connection; /* 0: disconnected */
    struct ctl_hello hello;
    char store_id[64]; /* in force there */
    char digest[CTL_DIGEST_HEX + 1];
    uint64_t revision;
    uint64_t offered_nonce;  /* newest it was sent on this connection; 0: none */
    unsigned offered_times;  /* so often */
    uint64_t answered_nonce; /* newest it answered on this connection; 0: none */
    bool is_refusing;        /* that answer was a NACK */
    bool is_silent;
    int64_t connected_ms, disconnected_ms, seen_ms;
    uint64_t disconnected_ns;
    bool has_error;
    int64_t error_ms;
    char error_reason[64];
    char error_detail[256];
    uint64_t apply_us; /* of the last ACK */
    bool has_stats;
    int64_t stats_ms;
    struct traffic_totals totals;
    uint64_t client_connections;
    bool is_healthy[TRAFFIC_SIDES]; /* of the clusters; known with the totals' detail */
};

struct fleet {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct list dataplanes;
    unsigned connected, disconnected;
    bool closed;
    struct rolling rolling; /* of all data planes together */
    struct history *history;
};

struct fleet *fleet_new(struct history *history)
{
    struct fleet *fleet = calloc(1, sizeof *fleet);
    pthread_condattr_t attributes;
    CHECK(fleet != NULL);
    fleet->history = history;
    list_init(&fleet->dataplanes);
    pthread_mutex_init(&fleet->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&fleet->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return fleet;
}

void fleet_free(struct fleet *fleet)
{
    if (fleet == NULL)
        return;
    for (struct list *node = fleet->dataplanes.next, *next; node != &fleet->dataplanes;
         node = next) {
        next = node->next;
        free(CONTAINER_OF(node, struct dataplane, node));
    }
    pthread_cond_destroy(&fleet->changed);
    pthread_mutex_destroy(&fleet->mutex);
    free(fleet);
}

static void lock(struct fleet *fleet)
{
    pthread_mutex_lock(&fleet->mutex);
}

static void unlock(struct fleet *fleet)
{
    pthread_mutex_unlock(&fleet->mutex);
}

static void unlock_changed(struct fleet *fleet)
{
    pthread_cond_broadcast(&fleet->changed);
    pthread_mutex_unlock(&fleet->mutex);
}

void fleet_close(struct fleet *fleet)
{
    lock(fleet);
    fleet->closed = true;
    unlock_changed(fleet);
}

static struct dataplane *first(struct fleet *fleet)
{
    struct list *node = list_first(&fleet->dataplanes);
    return node == NULL ? NULL : CONTAINER_OF(node, struct dataplane, node);
}

static struct dataplane *after(struct fleet *fleet, struct dataplane *dataplane)
{
    struct list *node = dataplane->node.next;
    return node == &fleet->dataplanes ? NULL : CONTAINER_OF(node, struct dataplane, node);
}

/* What data planes are measured against. */
struct wanted {
    const struct routing_state *state;
    struct ctl_snapshot snapshot; /* its digest */
};

static void want(struct wanted *wanted, const struct routing_state *state)
{
    wanted->state = state;
    routing_snapshot(state, 0, false, &wanted->snapshot);
}

#define FOR_EACH(fleet, each)                                                                      \
    for (struct dataplane *each = first(fleet); each != NULL; each = after(fleet, each))

static struct dataplane *find(struct fleet *fleet, uint64_t connection)
{
    FOR_EACH(fleet, dataplane)
    if (dataplane->connection == connection && connection != 0)
        return dataplane;
    return NULL;
}

static struct dataplane *find_instance(struct fleet *fleet, const char *instance)
{
    FOR_EACH(fleet, dataplane)
    if (strcmp(dataplane->hello.instance, instance) == 0)
        return dataplane;
    return NULL;
}

static void forget(struct fleet *fleet, struct dataplane *dataplane)
{
    list_remove(&dataplane->node);
    fleet->disconnected--;
    free(dataplane);
}

/* The entry a HELLO continues: the same process, or the same place after a restart. */
static struct dataplane *find_predecessor(struct fleet *fleet, const struct ctl_hello *hello)
{
    struct dataplane *same = find_instance(fleet, hello->instance);
    if (same != NULL)
        return same;
    FOR_EACH(fleet, dataplane)
    if (dataplane->connection == 0 && strcmp(dataplane->hello.address, hello->address) == 0)
        return dataplane;
    return NULL;
}

bool fleet_connect(struct fleet *fleet, uint64_t connection, const struct ctl_hello *hello,
                   uint64_t *replaced)
{
    lock(fleet);
    struct dataplane *dataplane = find_predecessor(fleet, hello);
    *replaced = dataplane == NULL ? 0 : dataplane->connection;
    if (*replaced == 0 && fleet->connected == FLEET_CONNECTED_MAX) {
        unlock(fleet);
        return false;
    }
    if (dataplane == NULL) {
        dataplane = calloc(1, sizeof *dataplane);
        CHECK(dataplane != NULL);
        list_append(&fleet->dataplanes, &dataplane->node);
        fleet->connected++;
    } else if (*replaced == 0) {
        fleet->disconnected--;
        fleet->connected++;
    }
    if (strcmp(dataplane->hello.instance, hello->instance) !=
        0) { /* new, or a new process in an old one's place */
        struct list node = dataplane->node;
        *dataplane = (struct dataplane){.node = node};
    }
    dataplane->connection = connection;
    dataplane->hello = *hello;
    dataplane->revision = hello->applied_revision;
    memcpy(dataplane->store_id, hello->applied_store_id, sizeof dataplane->store_id);
    memcpy(dataplane->digest, hello->applied_digest, sizeof dataplane->digest);
    dataplane->offered_nonce = dataplane->answered_nonce = 0;
    dataplane->is_refusing = dataplane->is_silent = false;
    dataplane->connected_ms = dataplane->seen_ms = clock_wall_ms();
    unlock_changed(fleet);
    return true;
}

static void set_error(struct dataplane *dataplane, const char *reason, const char *detail)
{
    dataplane->has_error = true;
    dataplane->error_ms = clock_wall_ms();
    snprintf(dataplane->error_reason, sizeof dataplane->error_reason, "%s", reason);
    snprintf(dataplane->error_detail, sizeof dataplane->error_detail, "%s", detail);
}

void fleet_disconnect(struct fleet *fleet, uint64_t connection, const char *reason)
{
    lock(fleet);
    struct dataplane *dataplane = find(fleet, connection);
    if (dataplane != NULL) {
        dataplane->connection = 0;
        dataplane->disconnected_ms = clock_wall_ms();
        dataplane->disconnected_ns = clock_now_ns();
        set_error(dataplane, "disconnected", reason);
        fleet->connected--;
        fleet->disconnected++;
        /* To the end: the first disconnected entry is then the longest gone. */
        list_remove(&dataplane->node);
        list_append(&fleet->dataplanes, &dataplane->node);
        if (fleet->disconnected > FLEET_DISCONNECTED_MAX) {
            FOR_EACH(fleet, oldest)
            {
                if (oldest->connection == 0) {
                    forget(fleet, oldest);
                    break;
                }
            }
        }
    }
    unlock_changed(fleet);
}

static enum fleet_forgotten may_forget(const struct dataplane *dataplane)
{
    if (dataplane == NULL)
        return FLEET_UNKNOWN;
    return dataplane->connection != 0 ? FLEET_CONNECTED : FLEET_FORGOTTEN;
}

enum fleet_forgotten fleet_forget(struct fleet *fleet, const char *instance)
{
    lock(fleet);
    struct dataplane *dataplane = find_instance(fleet, instance);
    enum fleet_forgotten result = may_forget(dataplane);
    if (result == FLEET_FORGOTTEN)
        forget(fleet, dataplane);
    unlock_changed(fleet);
    return result;
}

enum fleet_forgotten fleet_may_forget(struct fleet *fleet, const char *instance,
                                      struct json_writer *writer)
{
    lock(fleet);
    const struct dataplane *dataplane = find_instance(fleet, instance);
    if (dataplane != NULL) {
        json_begin_object(writer);
        json_put_string(writer, "id", dataplane->hello.instance);
        json_put_string(writer, "address", dataplane->hello.address);
        json_put_u64(writer, "applied_revision", dataplane->revision);
        json_end_object(writer);
    }
    enum fleet_forgotten result = may_forget(dataplane);
    unlock(fleet);
    return result;
}

bool fleet_offer(struct fleet *fleet, uint64_t connection, uint64_t nonce, unsigned times)
{
    lock(fleet);
    struct dataplane *dataplane = find(fleet, connection);
    if (dataplane != NULL) {
        dataplane->offered_nonce = nonce;
        dataplane->offered_times = times;
    }
    unlock(fleet);
    return dataplane != NULL;
}

bool fleet_set_silent(struct fleet *fleet, uint64_t connection, bool is_silent)
{
    lock(fleet);
    struct dataplane *dataplane = find(fleet, connection);
    bool changes = dataplane != NULL && dataplane->is_silent != is_silent;
    if (changes)
        dataplane->is_silent = is_silent;
    unlock(fleet);
    return changes;
}

bool fleet_ack(struct fleet *fleet, uint64_t connection, const struct ctl_ack *ack)
{
    lock(fleet);
    struct dataplane *dataplane = find(fleet, connection);
    if (dataplane != NULL) {
        memcpy(dataplane->store_id, ack->store_id, sizeof dataplane->store_id);
        memcpy(dataplane->digest, ack->digest, sizeof dataplane->digest);
        dataplane->revision = ack->revision;
        dataplane->answered_nonce = ack->nonce;
        dataplane->is_refusing = false;
        dataplane->apply_us = ack->elapsed_us;
        dataplane->seen_ms = clock_wall_ms();
        dataplane->has_error = false;
    }
    unlock_changed(fleet);
    return dataplane != NULL;
}

bool fleet_nack(struct fleet *fleet, uint64_t connection, const struct ctl_nack *nack)
{
    lock(fleet);
    struct dataplane *dataplane = find(fleet, connection);
    if (dataplane != NULL) {
        memcpy(dataplane->store_id, nack->store_id, sizeof dataplane->store_id);
        memcpy(dataplane->digest, nack->digest, sizeof dataplane->digest);
        dataplane->revision = nack->revision;
        dataplane->seen_ms = clock_wall_ms();
        dataplane->answered_nonce = nack->nonce;
        dataplane->is_refusing = true;
        set_error(dataplane, nack->reason, nack->detail);
    }
    unlock_changed(fleet);
    return dataplane != NULL;
}

static int64_t now_s(void)
{
    return (int64_t)(clock_now_ns() / NS_PER_S) + 1;
}

enum fleet_told fleet_stats(struct fleet *fleet, uint64_t connection, const struct ctl_stats *stats,
                            const char **member)
{
    struct traffic_totals totals;
    struct traffic traffic;
    if (!traffic_read(stats, &totals, member))
        return FLEET_TOLD_NONSENSE;
    lock(fleet);
    struct dataplane *dataplane = find(fleet, connection);
    bool is_news = dataplane != NULL && (!dataplane->has_stats ||
                                         traffic_between(&dataplane->totals, &totals, &traffic));
    if (is_news) {
        if (dataplane->has_stats) {
            rolling_add(&fleet->rolling, now_s(), &traffic);
            history_add(fleet->history, clock_wall_ms() / 1000, &traffic);
        }
        dataplane->totals = totals;
        dataplane->client_connections = stats->client_connections;
        dataplane->is_healthy[TRAFFIC_ORIGIN] = strcmp(stats->origin_health, "up") == 0;
        dataplane->is_healthy[TRAFFIC_TARGET] = strcmp(stats->target_health, "up") == 0;
        dataplane->has_stats = true;
        dataplane->stats_ms = dataplane->seen_ms = clock_wall_ms();
    }
    unlock(fleet);
    return is_news ? FLEET_TOLD_NEWS : FLEET_TOLD_NOTHING;
}

struct recall {
    struct rolling *rolling;
    int64_t wall_s, now_s;
};

static void recall_point(void *context, const struct history_point *point)
{
    const struct recall *recall = context;
    int64_t second = recall->now_s - (recall->wall_s - point->begin_s);
    if (second > 0)
        rolling_add(recall->rolling, second, &point->traffic);
}

void fleet_recall(struct fleet *fleet)
{
    lock(fleet);
    struct recall recall = {
        .rolling = &fleet->rolling, .wall_s = clock_wall_ms() / 1000, .now_s = now_s()};
    history_visit(fleet->history, recall.wall_s - ROLLING_SECONDS, recall.wall_s, recall_point,
                  &recall);
    fleet->rolling.first_s = 0; /* nobody looked just now */
    unlock(fleet);
}

static bool is_pending(const struct dataplane *dataplane, const struct publication *published)
{
    if (dataplane->answered_nonce >= published->nonce && !dataplane->is_refusing)
        return false;
    return dataplane->connection != 0 || dataplane->disconnected_ns >= published->since_ns;
}

/* The very state, not one that goes by its number. */
static bool has_state(const struct dataplane *dataplane, const struct wanted *wanted)
{
    return strcmp(dataplane->store_id, wanted->state->store_id) == 0 &&
           dataplane->revision == wanted->state->revision &&
           strcmp(dataplane->digest, wanted->snapshot.digest) == 0;
}

static bool is_in_sync(const struct dataplane *dataplane, const struct wanted *wanted)
{
    return has_state(dataplane, wanted) && !dataplane->is_refusing;
}

bool fleet_wait(struct fleet *fleet, const struct publication *published, unsigned timeout_ms)
{
    uint64_t end_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    struct timespec end = {.tv_sec = (time_t)(end_ns / NS_PER_S),
                           .tv_nsec = (long)(end_ns % NS_PER_S)};
    bool all = false;
    lock(fleet);
    for (;;) {
        bool waiting = false;
        all = true;
        FOR_EACH(fleet, dataplane)
        {
            if (!is_pending(dataplane, published))
                continue;
            all = false;
            waiting = waiting || dataplane->connection == 0 ||
                      dataplane->answered_nonce < published->nonce;
        }
        if (!waiting || fleet->closed)
            break;
        if (pthread_cond_timedwait(&fleet->changed, &fleet->mutex, &end) == ETIMEDOUT)
            break;
    }
    unlock(fleet);
    return all;
}

bool fleet_lacks(struct fleet *fleet, uint32_t features, char *address, size_t address_size,
                 uint32_t *missing)
{
    *missing = 0;
    lock(fleet);
    FOR_EACH(fleet, dataplane)
    {
        uint32_t lacking = features & ~ctl_features_announced(dataplane->hello.features);
        if (dataplane->connection == 0 || lacking == 0)
            continue;
        snprintf(address, address_size, "%s", dataplane->hello.address);
        *missing = lacking;
        break;
    }
    unlock(fleet);
    return *missing != 0;
}

/* A cluster's health is known once every connected data plane has told it. */
static void count_healthy(const struct dataplane *dataplane, enum traffic_side side,
                          struct gate_health *health)
{
    health->is_known = health->is_known && dataplane->has_stats && dataplane->totals.has_detail;
    health->healthy += dataplane->has_stats && dataplane->is_healthy[side];
}

static void count_dataplanes(struct fleet *fleet, const struct wanted *wanted,
                             struct gate_figures *figures)
{
    figures->connected = fleet->connected;
    figures->disconnected = fleet->disconnected;
    figures->origin_health.is_known = figures->target_health.is_known = fleet->connected > 0;
    FOR_EACH(fleet, dataplane)
    {
        if (dataplane->connection != 0) {
            count_healthy(dataplane, TRAFFIC_ORIGIN, &figures->origin_health);
            count_healthy(dataplane, TRAFFIC_TARGET, &figures->target_health);
        }
        if (dataplane->connection != 0 && is_in_sync(dataplane, wanted))
            figures->in_sync++;
        else if (figures->straggler[0] == '\0')
            snprintf(figures->straggler, sizeof figures->straggler, "%s", dataplane->hello.address);
    }
}

static struct gate_share share_of(const struct traffic *traffic, bool is_known,
                                  enum traffic_count total, enum traffic_count failed)
{
    return (struct gate_share){
        .is_known = is_known, .total = traffic->counts[total], .failed = traffic->counts[failed]};
}

/* What a cluster answers on the side counts with what it answers clients: before it is the primary,
 * it is how one knows its reads. */
static void compare_latencies(const struct traffic *lately, const struct routing_state *state,
                              struct gate_figures *figures)
{
    struct latency origin = lately->latencies[TRAFFIC_ORIGIN];
    struct latency target = lately->latencies[TRAFFIC_TARGET];
    latency_merge(state->forward_reads_to_target ? &origin : &target,
                  &lately->latencies[TRAFFIC_ON_THE_SIDE]);
    bool has_origin = latency_percentile(&origin, 990, &figures->origin_p99_us);
    bool has_target = latency_percentile(&target, 990, &figures->target_p99_us);
    figures->are_latencies_known = has_origin && has_target;
}

void fleet_figures(struct fleet *fleet, const struct routing_state *state, int64_t since_phase_ms,
                   unsigned quiet_minutes, struct gate_figures *figures)
{
    struct traffic lately, quiet;
    struct wanted wanted;
    int64_t second = now_s();
    int64_t quiet_s = (int64_t)quiet_minutes * 60;
    int64_t phase_s = (clock_wall_ms() - since_phase_ms) / 1000 + 1;
    *figures = (struct gate_figures){.is_shadow_in_use = state->shadow_read_percent > 0};
    if (phase_s > 0 && phase_s < quiet_s)
        quiet_s = phase_s;
    want(&wanted, state);
    lock(fleet);
    count_dataplanes(fleet, &wanted, figures);
    /* What is remembered of another process's time speaks once there is somebody to speak. */
    bool looked =
        rolling_sum(&fleet->rolling, second, GATE_WINDOW_S, &lately) && fleet->rolling.first_s != 0;
    (void)rolling_sum(&fleet->rolling, second, quiet_s, &quiet);
    int64_t looked_s = second - fleet->rolling.first_s + 1;
    unlock(fleet);
    bool has_detail = looked && lately.has_detail && figures->origin_health.is_known;
    figures->reads = share_of(&lately, looked, TRAFFIC_READS_ORIGIN, TRAFFIC_FAILED_READS);
    figures->reads.total += lately.counts[TRAFFIC_READS_TARGET];
    figures->origin = share_of(&lately, has_detail, TRAFFIC_REQUESTS_ORIGIN, TRAFFIC_ERRORS_ORIGIN);
    figures->target = share_of(&lately, has_detail, TRAFFIC_REQUESTS_TARGET, TRAFFIC_ERRORS_TARGET);
    figures->shadow = share_of(&lately, has_detail, TRAFFIC_SHADOW, TRAFFIC_ERRORS_SHADOW);
    if (has_detail)
        compare_latencies(&lately, state, figures);
    figures->are_failed_writes_known = looked;
    figures->failed_writes = quiet.counts[TRAFFIC_FAILED_WRITES];
    figures->failed_writes_s = (unsigned)(quiet_s < looked_s ? quiet_s : looked_s);
}

void fleet_summary(struct fleet *fleet, const struct routing_state *state,
                   struct fleet_summary *summary)
{
    struct wanted wanted;
    want(&wanted, state);
    lock(fleet);
    *summary =
        (struct fleet_summary){.connected = fleet->connected, .disconnected = fleet->disconnected};
    FOR_EACH(fleet, dataplane)
    if (dataplane->connection != 0 && is_in_sync(dataplane, &wanted))
        summary->in_sync++;
    unlock(fleet);
}

static void write_stats(const struct dataplane *dataplane, struct json_writer *writer)
{
    static const char *const words[] = {"down", "up"};
    json_put_i64(writer, "time_ms", dataplane->stats_ms);
    traffic_write(&dataplane->totals, writer);
    json_put_u64(writer, "client_connections", dataplane->client_connections);
    if (!dataplane->totals.has_detail)
        return;
    json_put_string(writer, "origin_health", words[dataplane->is_healthy[TRAFFIC_ORIGIN]]);
    json_put_string(writer, "target_health", words[dataplane->is_healthy[TRAFFIC_TARGET]]);
}

static void write_following(const struct dataplane *dataplane, const struct wanted *wanted,
                            struct json_writer *writer)
{
    char text[768];
    struct following_facts facts = {
        .is_connected = dataplane->connection != 0,
        .is_silent = dataplane->is_silent,
        .is_same = has_state(dataplane, wanted),
        .is_refusing = dataplane->is_refusing,
        .reason = dataplane->error_reason,
        .detail = dataplane->error_detail,
        .offers =
            dataplane->answered_nonce < dataplane->offered_nonce ? dataplane->offered_times : 0,
        .in_force = dataplane->revision,
        .wanted = wanted->state->revision,
    };
    following_describe(&facts, text, sizeof text);
    json_put_string(writer, "state", following_word(following_of(&facts)));
    json_put_string(writer, "detail", text);
}

static void write_one(const struct dataplane *dataplane, const struct wanted *wanted,
                      struct json_writer *writer)
{
    json_begin_object(writer);
    json_put_string(writer, "id", dataplane->hello.instance);
    json_put_string(writer, "address", dataplane->hello.address);
    json_put_string(writer, "version", dataplane->hello.version);
    json_put_string(writer, "features", dataplane->hello.features);
    json_put_u64(writer, "pid", dataplane->hello.pid);
    json_put_bool(writer, "connected", dataplane->connection != 0);
    json_put_u64(writer, "connection", dataplane->connection);
    json_put_i64(writer, "connected_since_ms", dataplane->connected_ms);
    json_write_name(writer, "disconnected_ms");
    if (dataplane->connection == 0)
        json_write_i64(writer, dataplane->disconnected_ms);
    else
        json_write_null(writer);
    json_put_i64(writer, "last_seen_ms", dataplane->seen_ms);
    json_put_string(writer, "applied_store_id", dataplane->store_id);
    json_put_u64(writer, "applied_revision", dataplane->revision);
    json_put_string(writer, "applied_digest", dataplane->digest);
    json_put_bool(writer, "in_sync", is_in_sync(dataplane, wanted));
    write_following(dataplane, wanted, writer);
    json_put_u64(writer, "apply_us", dataplane->apply_us);
    json_write_name(writer, "last_error");
    if (dataplane->has_error) {
        json_begin_object(writer);
        json_put_i64(writer, "time_ms", dataplane->error_ms);
        json_put_string(writer, "reason", dataplane->error_reason);
        json_put_string(writer, "detail", dataplane->error_detail);
        json_end_object(writer);
    } else {
        json_write_null(writer);
    }
    json_write_name(writer, "stats");
    if (dataplane->has_stats) {
        json_begin_object(writer);
        write_stats(dataplane, writer);
        json_end_object(writer);
    } else {
        json_write_null(writer);
    }
    json_end_object(writer);
}

void fleet_write(struct fleet *fleet, const struct routing_state *state, struct json_writer *writer)
{
    struct wanted wanted;
    want(&wanted, state);
    lock(fleet);
    json_begin_array(writer);
    FOR_EACH(fleet, dataplane)
    write_one(dataplane, &wanted, writer);
    json_end_array(writer);
    unlock(fleet);
}

void fleet_write_pending(struct fleet *fleet, const struct publication *published,
                         struct json_writer *writer)
{
    lock(fleet);
    json_begin_array(writer);
    FOR_EACH(fleet, dataplane)
    {
        if (!is_pending(dataplane, published))
            continue;
        bool says_why = dataplane->connection == 0 || dataplane->answered_nonce >= published->nonce;
        json_begin_object(writer);
        json_put_string(writer, "id", dataplane->hello.instance);
        json_put_string(writer, "address", dataplane->hello.address);
        json_put_u64(writer, "applied_revision", dataplane->revision);
        json_put_string(writer, "reason", says_why ? dataplane->error_reason : "no_answer");
        json_put_string(writer, "detail",
                        says_why ? dataplane->error_detail : "has not acknowledged yet");
        json_end_object(writer);
    }
    json_end_array(writer);
    unlock(fleet);
}

bool fleet_write_one(struct fleet *fleet, uint64_t connection, const struct routing_state *state,
                     struct json_writer *writer)
{
    struct wanted wanted;
    want(&wanted, state);
    lock(fleet);
    const struct dataplane *dataplane = find(fleet, connection);
    if (dataplane != NULL)
        write_one(dataplane, &wanted, writer);
    unlock(fleet);
    return dataplane != NULL;
}

bool fleet_write_stats(struct fleet *fleet, uint64_t connection, struct json_writer *writer)
{
    lock(fleet);
    const struct dataplane *dataplane = find(fleet, connection);
    bool has_stats = dataplane != NULL && dataplane->has_stats;
    if (has_stats) {
        json_begin_object(writer);
        json_put_u64(writer, "connection", connection);
        write_stats(dataplane, writer);
        json_end_object(writer);
    }
    unlock(fleet);
    return has_stats;
}
