/* Where the parts meet. A change is stored and published under one mutex, so that data planes see
 * revisions in order; the wait for ACKs happens outside of it, so that one slow data plane does not
 * hold up the next change. */
#include "controlplane/plane.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "controlplane/history_keeper.h"
#include "controlplane/metrics.h"
#include "controlplane/publisher.h"

struct plane {
    pthread_mutex_t change_mutex;
    struct store *store;
    struct history *history;
    struct history_keeper *keeper; /* NULL: in memory only */
    struct fleet *fleet;
    struct events *events;
    struct publisher *publisher; /* guarded by change_mutex: its thread may seed before
                                    publisher_new has returned */
    struct gate_limits limits;
    struct publication published; /* the newest; guarded by change_mutex */
    atomic_uint waits, long_waits;
    atomic_bool closing;
};

/* change_mutex is held. The event goes first, so that no stream hears of an ACK before the change.
 */
static void publish(struct plane *plane, const struct routing_state *before,
                    const struct routing_state *state, bool adopt)
{
    struct dynbuf text;
    struct json_writer writer;
    dynbuf_init(&text, 4096);
    json_writer_init(&writer, &text);
    routing_write_object(state, &writer);
    if (!text.failed)
        events_publish(plane->events, "routing", dynbuf_text(&text));
    if (!routing_has_same_settings(before, state)) {
        dynbuf_reset(&text);
        json_writer_init(&writer, &text);
        routing_write_settings_object(state, &writer);
        if (!text.failed)
            events_publish(plane->events, "settings", dynbuf_text(&text));
    }
    dynbuf_fini(&text);
    plane->published.since_ns = clock_now_ns();
    plane->published.nonce = publisher_publish(plane->publisher, state, adopt);
}

/* The publisher's hook: the first data plane's start values seed a store nobody has touched. */
static void on_unseeded(void *context, const struct ctl_hello *hello)
{
    struct plane *plane = context;
    struct routing_state state;
    bool seeded;
    char error[256] = "";
    char actor[160];
    char quoted[700];
    struct routing_patch values = {
        .has_forward_reads_to_target = true,
        .forward_reads_to_target = hello->forward_reads_to_target,
        .has_forward_system_queries_to_target = true,
        .forward_system_queries_to_target = hello->forward_system_queries_to_target,
        .has_shadow_read_percent = true,
        .shadow_read_percent =
            hello->shadow_read_percent > 100 ? 100 : (uint8_t)hello->shadow_read_percent,
    };
    snprintf(actor, sizeof actor, "dataplane %s", hello->address);
    pthread_mutex_lock(&plane->change_mutex);
    enum store_verdict verdict =
        store_seed(plane->store, &values, actor, &seeded, &state, error, sizeof error);
    if (verdict == STORE_CHANGED)
        publish(plane, &state, &state, false); /* a seed brings no settings */
    pthread_mutex_unlock(&plane->change_mutex);
    if (verdict == STORE_FAILED)
        LOG_ERROR("store_seed_failed", "reason=%s",
                  log_quote(quoted, sizeof quoted, error, strlen(error)));
    else
        LOG_INFO(seeded ? "store_seeded" : "store_wins", "address=%s revision=%llu source=%s",
                 log_quote(quoted, sizeof quoted, hello->address, strlen(hello->address)),
                 (unsigned long long)state.revision, seeded ? "dataplane" : "store");
}

static void keep_history(struct plane *plane, const struct control_config *config)
{
    char path[4200];
    if (strcmp(config->metrics_history, "none") == 0)
        return;
    if (config->metrics_history[0] == '\0')
        snprintf(path, sizeof path, "%s-history", config->database);
    else
        snprintf(path, sizeof path, "%s", config->metrics_history);
    plane->keeper = history_keeper_new(path, plane->history);
    fleet_recall(plane->fleet);
}

struct plane *plane_new(const struct control_config *config, char *error, size_t error_size)
{
    struct plane *plane = calloc(1, sizeof *plane);
    struct routing_state state = {0};
    CHECK(plane != NULL);
    pthread_mutex_init(&plane->change_mutex, NULL);
    plane->limits = (struct gate_limits){
        .error_percent = config->gate_error_percent,
        .latency_percent = (unsigned)config->gate_latency_percent,
        .latency_ms = (unsigned)config->gate_latency_ms,
        .quiet_minutes = (unsigned)config->gate_quiet_minutes,
    };
    plane->history = history_new();
    plane->fleet = fleet_new(plane->history);
    plane->events = events_new();
    plane->store = store_open(config->database, error, error_size);
    if (plane->store != NULL) {
        keep_history(plane, config);
        struct publisher_hooks hooks = {.context = plane, .on_unseeded = on_unseeded};
        store_read(plane->store, &state);
        pthread_mutex_lock(&plane->change_mutex);
        plane->publisher = publisher_new(config->socket, &state, plane->fleet, plane->events,
                                         &hooks, error, error_size);
        if (plane->publisher != NULL)
            plane->published = (struct publication){.nonce = publisher_nonce(plane->publisher),
                                                    .since_ns = clock_now_ns()};
        pthread_mutex_unlock(&plane->change_mutex);
    }
    if (plane->publisher == NULL) {
        plane_free(plane);
        return NULL;
    }
    LOG_INFO("store_opened", "store_id=%s revision=%llu", state.store_id,
             (unsigned long long)state.revision);
    return plane;
}

void plane_close(struct plane *plane)
{
    atomic_store(&plane->closing, true);
    fleet_close(plane->fleet);
    events_close(plane->events);
}

void plane_free(struct plane *plane)
{
    if (plane == NULL)
        return;
    publisher_free(plane->publisher);
    history_keeper_free(plane->keeper);
    store_close(plane->store);
    events_free(plane->events);
    fleet_free(plane->fleet);
    history_free(plane->history);
    pthread_mutex_destroy(&plane->change_mutex);
    free(plane);
}

void plane_facts(struct plane *plane, struct change_facts *facts)
{
    struct store_since since;
    char error[512], quoted[1100];
    *facts = (struct change_facts){.limits = plane->limits};
    store_read(plane->store, &facts->present);
    if (store_since(plane->store, "phase", &since, error, sizeof error))
        facts->since = (struct phase_since){.revision = since.revision, .time_ms = since.time_ms};
    else
        LOG_ERROR("store_read_failed", "reason=%s",
                  log_quote(quoted, sizeof quoted, error, strlen(error)));
    fleet_figures(plane->fleet, &facts->present, facts->since.time_ms, plane->limits.quiet_minutes,
                  &facts->figures);
}

/* What next asks of data planes beyond what before did: a connected one that cannot is a reason to
 * refuse, since it would refuse the snapshot or, worse, agree to what it does not do. */
static bool check_features(struct plane *plane, const struct routing_state *before,
                           const struct routing_state *next, struct routing_problem *problem)
{
    struct ctl_snapshot snapshots[2];
    char address[128];
    char detail[sizeof problem->detail];
    uint32_t missing;
    routing_snapshot(before, 0, false, &snapshots[0]);
    routing_snapshot(next, 0, false, &snapshots[1]);
    uint32_t needed = ctl_features_needed(&snapshots[1]) & ~ctl_features_needed(&snapshots[0]);
    if (!fleet_lacks(plane->fleet, needed, address, sizeof address, &missing))
        return true;
    snprintf(detail, sizeof detail,
             "the data plane %s cannot do this: it has no %s (%s); upgrade it, or stop it", address,
             ctl_features_word(missing), ctl_features_meaning(missing));
    return routing_fail(problem, 409, "", detail);
}

/* change_mutex is held: nobody else changes the state between the checks and the commit. */
static enum plane_verdict change_now(struct plane *plane, const struct plane_wish *wish,
                                     struct plane_change *result)
{
    struct change_facts facts;
    struct change_wish change = wish->change;
    struct store_actor actor = wish->actor;
    plane_facts(plane, &facts);
    result->before = result->state = facts.present;
    if (!routing_matches(&facts.present, wish->if_match))
        return PLANE_STALE;
    change.is_dry_run = wish->is_dry_run;
    if (!change_plan(&facts, &change, &result->plan) ||
        !check_features(plane, &facts.present, &result->plan.next, &result->plan.problem))
        return PLANE_REFUSED;
    if (wish->is_dry_run)
        return PLANE_PLANNED;
    actor.forced = change.force && !result->plan.gates_hold;
    switch (store_change(plane->store, &result->plan.patch, NULL, wish->adopt, &actor,
                         &result->state, result->error, sizeof result->error)) {
    case STORE_CHANGED:
        publish(plane, &result->before, &result->state, wish->adopt);
        result->published = plane->published;
        return PLANE_CHANGED;
    case STORE_UNCHANGED:
        result->published = plane->published;
        return PLANE_UNCHANGED;
    case STORE_STALE:
    case STORE_FAILED:
        break;
    }
    return PLANE_FAILED;
}

void plane_change(struct plane *plane, const struct plane_wish *wish, struct plane_change *result)
{
    char name[256], quoted[700];
    uint64_t begun_ns = clock_now_ns();
    *result = (struct plane_change){0};
    pthread_mutex_lock(&plane->change_mutex);
    result->verdict = change_now(plane, wish, result);
    pthread_mutex_unlock(&plane->change_mutex);

    if (result->verdict == PLANE_CHANGED) {
        control_metrics_add(CONTROL_METRIC_ROUTING_CHANGES, 1);
        struct dynbuf state;
        dynbuf_init(&state, 4096);
        routing_describe(&result->state, &state);
        LOG_INFO("routing_changed", "%s adopt=%s actor=%s", dynbuf_text(&state),
                 wish->adopt ? "true" : "false",
                 log_quote(name, sizeof name, wish->actor.name, strlen(wish->actor.name)));
        dynbuf_fini(&state);
    } else if (result->verdict == PLANE_FAILED) {
        control_metrics_add(CONTROL_METRIC_ROUTING_CHANGES_FAILED, 1);
        LOG_ERROR("routing_change_failed", "reason=%s",
                  log_quote(quoted, sizeof quoted, result->error, strlen(result->error)));
    }
    if (result->verdict == PLANE_CHANGED || result->verdict == PLANE_UNCHANGED)
        result->is_everywhere = plane_wait(plane, &result->published, wish->wait_ms);
    if (result->verdict == PLANE_CHANGED && result->is_everywhere)
        control_metrics_observe(CONTROL_HISTOGRAM_CHANGE, clock_now_ns() - begun_ns);
}

void plane_standing(struct plane *plane, struct routing_state *state, struct publication *published)
{
    pthread_mutex_lock(&plane->change_mutex);
    store_read(plane->store, state);
    *published = plane->published;
    pthread_mutex_unlock(&plane->change_mutex);
}

bool plane_wait(struct plane *plane, const struct publication *published, unsigned timeout_ms)
{
    bool is_long = timeout_ms > PLANE_ACK_TIMEOUT_MS;
    if (is_long && atomic_fetch_add(&plane->long_waits, 1) >= PLANE_LONG_WAITS_MAX)
        timeout_ms = PLANE_ACK_TIMEOUT_MS;
    if (atomic_fetch_add(&plane->waits, 1) >= PLANE_WAITS_MAX && timeout_ms > PLANE_CROWDED_MS)
        timeout_ms = PLANE_CROWDED_MS;
    bool is_everywhere = fleet_wait(plane->fleet, published, timeout_ms);
    atomic_fetch_sub(&plane->waits, 1);
    if (is_long)
        atomic_fetch_sub(&plane->long_waits, 1);
    return is_everywhere;
}

static void publish_dataplanes(struct plane *plane)
{
    struct routing_state state;
    struct dynbuf text;
    struct json_writer writer;
    store_read(plane->store, &state);
    dynbuf_init(&text, 1024 * 1024);
    json_writer_init(&writer, &text);
    fleet_write(plane->fleet, &state, &writer);
    if (!text.failed)
        events_publish(plane->events, "dataplanes", dynbuf_text(&text));
    dynbuf_fini(&text);
}

bool plane_forget_dataplane(struct plane *plane, const char *instance,
                            const struct store_actor *actor, enum fleet_forgotten *result,
                            char *error, size_t error_size)
{
    char id[256], name[256];
    struct dynbuf before;
    struct json_writer writer;
    dynbuf_init(&before, 4096);
    json_writer_init(&writer, &before);
    pthread_mutex_lock(&plane->change_mutex); /* two at once leave one row */
    *result = fleet_may_forget(plane->fleet, instance, &writer);
    bool is_noted =
        *result != FLEET_FORGOTTEN ||
        store_note_forgotten(plane->store, dynbuf_text(&before), actor, error, error_size);
    if (is_noted && *result == FLEET_FORGOTTEN)
        *result = fleet_forget(plane->fleet, instance);
    pthread_mutex_unlock(&plane->change_mutex);
    dynbuf_fini(&before);
    if (!is_noted || *result != FLEET_FORGOTTEN)
        return is_noted;
    LOG_INFO("dataplane_forgotten", "id=%s actor=%s",
             log_quote(id, sizeof id, instance, strlen(instance)),
             log_quote(name, sizeof name, actor->name, strlen(actor->name)));
    publish_dataplanes(plane);
    return true;
}

struct store *plane_store(struct plane *plane)
{
    return plane->store;
}

struct fleet *plane_fleet(struct plane *plane)
{
    return plane->fleet;
}

struct events *plane_events(struct plane *plane)
{
    return plane->events;
}

struct history *plane_history(struct plane *plane)
{
    return plane->history;
}

bool plane_is_closing(struct plane *plane)
{
    return atomic_load(&plane->closing);
}
