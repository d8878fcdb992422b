/* Where the parts meet. A change is stored and published under one mutex, so that data planes see
 * revisions in order; the wait for ACKs happens outside of it, so that one slow data plane does not
 * hold up the next change. */
#include "controlplane/plane.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "controlplane/metrics.h"
#include "controlplane/publisher.h"

struct plane {
    pthread_mutex_t change_mutex;
    struct store *store;
    struct fleet *fleet;
    struct events *events;
    struct publisher *publisher; /* guarded by change_mutex: its thread may seed before
                                    publisher_new has returned */
    atomic_bool closing;
};

/* change_mutex is held. The event goes first, so that no stream hears of an ACK before the change.
 */
static uint64_t publish(struct plane *plane, const struct routing_state *state, bool adopt)
{
    struct dynbuf text;
    struct json_writer writer;
    dynbuf_init(&text, 4096);
    json_writer_init(&writer, &text);
    routing_write_object(state, &writer);
    if (!text.failed)
        events_publish(plane->events, "routing", dynbuf_text(&text));
    dynbuf_fini(&text);
    return publisher_publish(plane->publisher, state, adopt);
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
    struct routing_patch values = {0};
#define ROUTING_FLAG(name, fallback, meaning)                                                      \
    values.has_##name = true;                                                                      \
    values.name = hello->name;
#define ROUTING_PERCENT(name, fallback, meaning)                                                   \
    values.has_##name = true;                                                                      \
    values.name = hello->name > 100 ? 100 : (uint8_t)hello->name;
#include "controlplane/routing.def"
#undef ROUTING_FLAG
#undef ROUTING_PERCENT
    snprintf(actor, sizeof actor, "dataplane %s", hello->address);
    pthread_mutex_lock(&plane->change_mutex);
    enum store_verdict verdict =
        store_seed(plane->store, &values, actor, &seeded, &state, error, sizeof error);
    if (verdict == STORE_CHANGED)
        (void)publish(plane, &state, false);
    pthread_mutex_unlock(&plane->change_mutex);
    if (verdict == STORE_FAILED)
        LOG_ERROR("store_seed_failed", "reason=%s",
                  log_quote(quoted, sizeof quoted, error, strlen(error)));
    else
        LOG_INFO(seeded ? "store_seeded" : "store_wins", "address=%s revision=%llu source=%s",
                 log_quote(quoted, sizeof quoted, hello->address, strlen(hello->address)),
                 (unsigned long long)state.revision, seeded ? "dataplane" : "store");
}

struct plane *plane_new(const struct control_config *config, char *error, size_t error_size)
{
    struct plane *plane = calloc(1, sizeof *plane);
    struct routing_state state = {0};
    CHECK(plane != NULL);
    pthread_mutex_init(&plane->change_mutex, NULL);
    plane->fleet = fleet_new();
    plane->events = events_new();
    plane->store = store_open(config->database, error, error_size);
    if (plane->store != NULL) {
        struct publisher_hooks hooks = {.context = plane, .on_unseeded = on_unseeded};
        store_read(plane->store, &state);
        pthread_mutex_lock(&plane->change_mutex);
        plane->publisher = publisher_new(config->socket, &state, plane->fleet, plane->events,
                                         &hooks, error, error_size);
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
    store_close(plane->store);
    events_free(plane->events);
    fleet_free(plane->fleet);
    pthread_mutex_destroy(&plane->change_mutex);
    free(plane);
}

void plane_change_routing(struct plane *plane, const struct routing_patch *patch,
                          const char *if_match, bool adopt, const struct store_actor *actor,
                          struct plane_change *result)
{
    char name[256], quoted[1100];
    *result = (struct plane_change){0};
    pthread_mutex_lock(&plane->change_mutex);
    result->verdict = store_change(plane->store, patch, if_match, adopt, actor, &result->state,
                                   result->error, sizeof result->error);
    result->nonce = result->verdict == STORE_CHANGED ? publish(plane, &result->state, adopt)
                                                     : publisher_nonce(plane->publisher);
    pthread_mutex_unlock(&plane->change_mutex);

    if (result->verdict == STORE_CHANGED) {
        control_metrics_add(CONTROL_METRIC_ROUTING_CHANGES, 1);
        struct dynbuf state;
        dynbuf_init(&state, 4096);
        routing_describe(&result->state, &state);
        LOG_INFO("routing_changed", "%s adopt=%s actor=%s", dynbuf_text(&state),
                 adopt ? "true" : "false",
                 log_quote(name, sizeof name, actor->name, strlen(actor->name)));
        dynbuf_fini(&state);
    } else if (result->verdict == STORE_FAILED) {
        control_metrics_add(CONTROL_METRIC_ROUTING_CHANGES_FAILED, 1);
        LOG_ERROR("routing_change_failed", "reason=%s",
                  log_quote(quoted, sizeof quoted, result->error, strlen(result->error)));
    }
    if (result->verdict == STORE_CHANGED || result->verdict == STORE_UNCHANGED)
        result->is_everywhere = fleet_wait(plane->fleet, result->nonce, PLANE_ACK_TIMEOUT_MS);
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

bool plane_is_closing(struct plane *plane)
{
    return atomic_load(&plane->closing);
}
