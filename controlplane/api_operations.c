/* GET /api/v1/operations and /api/v1/operations/{id}: what became of a change. On civetweb's
 * threads; the second may wait, up to PLANE_WAIT_MAX_S. */
#include <stdlib.h>
#include <string.h>

#include "controlplane/api_change.h"
#include "controlplane/store_operations.h"

#define LIMIT     50
#define LIMIT_MAX 1000

struct listing {
    const struct http_request *request;
    struct json_writer writer;
    uint64_t revision; /* the present one, and the snapshot that carries it */
    struct publication published;
    bool is_everywhere;
    unsigned count;
};

static const char *status_of(const struct listing *listing, uint64_t revision)
{
    if (revision < listing->revision)
        return "superseded";
    return listing->is_everywhere ? "in_force" : "pending";
}

static void write_operation(void *context, const struct store_operation *operation)
{
    struct listing *listing = context;
    struct json_writer *writer = &listing->writer;
    const char *status = status_of(listing, operation->revision);
    listing->count++;
    json_begin_object(writer);
    json_put_u64(writer, "id", operation->revision);
    json_put_string(writer, "status", status);
    json_put_string(writer, "action", operation->action);
    json_put_i64(writer, "time_ms", operation->time_ms);
    json_put_string(writer, "actor", operation->actor);
    json_put_string(writer, "reason", operation->reason);
    json_put_bool(writer, "forced", operation->forced);
    json_put_string(writer, "phase_before", operation->phase_before);
    json_put_string(writer, "phase_after", operation->phase_after);
    json_write_name(writer, "pending");
    if (strcmp(status, "pending") == 0) {
        fleet_write_pending(plane_fleet(listing->request->plane), &listing->published, writer);
    } else {
        json_begin_array(writer);
        json_end_array(writer);
    }
    json_end_object(writer);
}

static void listing_init(struct listing *listing, const struct http_request *request,
                         struct http_response *response)
{
    struct routing_state state;
    *listing = (struct listing){.request = request};
    plane_standing(request->plane, &state, &listing->published);
    listing->revision = state.revision;
    listing->is_everywhere = plane_wait(request->plane, &listing->published, 0);
    json_writer_init(&listing->writer, &response->body);
}

void api_get_operations(const struct http_request *request, struct http_response *response)
{
    struct listing listing;
    unsigned long long limit, before;
    char error[512];
    if (!http_query_number(request, "limit", 1, LIMIT_MAX, LIMIT, &limit)) {
        http_problem(response, 400, "limit must be a number from 1 to 1000", NULL);
        return;
    }
    if (!http_query_number(request, "before", 1, INT64_MAX, INT64_MAX, &before)) {
        http_problem(response, 400, "before must be the id of an operation", NULL);
        return;
    }
    listing_init(&listing, request, response);
    json_begin_object(&listing.writer);
    json_write_name(&listing.writer, "operations");
    json_begin_array(&listing.writer);
    if (!store_operations(plane_store(request->plane), 1, before - 1, (unsigned)limit,
                          write_operation, &listing, error, sizeof error)) {
        http_problem(response, 503, error, NULL);
        return;
    }
    json_end_array(&listing.writer);
    json_end_object(&listing.writer);
}

/* A revision of 1 and up. false: no operation has this id. */
static bool read_id(const char *text, uint64_t *id)
{
    size_t length = strlen(text);
    if (length == 0 || length > 18 || strspn(text, "0123456789") < length)
        return false;
    *id = strtoull(text, NULL, 10);
    return *id > 0;
}

/* Until the change is in force everywhere, somebody refused it, or a later one replaced it. */
static void wait_for(const struct http_request *request, uint64_t id, unsigned wait_ms)
{
    struct routing_state state;
    struct publication published;
    plane_standing(request->plane, &state, &published);
    if (state.revision == id)
        (void)plane_wait(request->plane, &published, wait_ms);
}

void api_get_operation(const struct http_request *request, struct http_response *response)
{
    struct listing listing;
    unsigned wait_ms;
    uint64_t id;
    char error[512];
    if (!api_query_wait(request, 0, &wait_ms, response))
        return;
    if (!read_id(request->parameter, &id)) {
        http_problem(response, 404, "an operation's id is the revision it made, a number", NULL);
        return;
    }
    wait_for(request, id, wait_ms);
    listing_init(&listing, request, response);
    if (!store_operations(plane_store(request->plane), id, id, 1, write_operation, &listing, error,
                          sizeof error))
        http_problem(response, 503, error, NULL);
    else if (listing.count == 0)
        http_problem(response, 404, "there is no operation of this id", NULL);
}
