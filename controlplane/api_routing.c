/* GET and PATCH /api/v1/routing. On civetweb's threads; a PATCH may wait for the data planes, up to
 * PLANE_ACK_TIMEOUT_MS. */
#include <string.h>
#include <strings.h>

#include "controlplane/http.h"

static void write_state(const struct routing_state *state, struct http_response *response)
{
    struct json_writer writer;
    char etag[ROUTING_ETAG_SIZE];
    json_writer_init(&writer, &response->body);
    routing_write_object(state, &writer);
    routing_etag(state, etag);
    http_add_header(response, "ETag", etag);
}

void api_get_routing(const struct http_request *request, struct http_response *response)
{
    struct routing_state state;
    char etag[ROUTING_ETAG_SIZE];
    const char *if_none_match = http_header(request, "If-None-Match");
    store_read(plane_store(request->plane), &state);
    write_state(&state, response);
    routing_etag(&state, etag);
    if (if_none_match != NULL && strstr(if_none_match, etag) != NULL)
        response->status = 304;
}

static bool has_json_type(const struct http_request *request)
{
    static const char *const types[] = {"application/json", "application/merge-patch+json"};
    const char *type = http_header(request, "Content-Type");
    for (size_t i = 0; type != NULL && i < ARRAY_COUNT(types); i++) {
        size_t length = strlen(types[i]);
        if (strncasecmp(type, types[i], length) == 0 && strchr("; \t", type[length]) != NULL)
            return true; /* strchr also finds the end of the text */
    }
    return false;
}

static void answer_change(const struct http_request *request, const struct plane_change *change,
                          struct http_response *response)
{
    char etag[ROUTING_ETAG_SIZE];
    struct json_writer writer;
    switch (change->verdict) {
    case PLANE_STALE:
        http_problem(response, 412, "If-Match is stale: the state has changed since; read it again",
                     NULL);
        routing_etag(&change->state, etag);
        http_add_header(response, "ETag", etag);
        return;
    case PLANE_REFUSED:
        http_problem(response, change->plan.problem.status, change->plan.problem.detail,
                     change->plan.problem.status == 422 ? change->plan.problem.pointer : NULL);
        return;
    case PLANE_FAILED: /* a full or broken disk: nothing was changed, and it may work later */
        http_problem(response, 503, change->error, NULL);
        http_add_header(response, "Retry-After", "5");
        return;
    case PLANE_CHANGED:
    case PLANE_UNCHANGED:
    case PLANE_PLANNED:
        break;
    }
    if (change->is_everywhere) {
        write_state(&change->state, response);
        return;
    }
    response->status = 202;
    json_writer_init(&writer, &response->body);
    json_begin_object(&writer);
    routing_write(&change->state, &writer);
    json_write_name(&writer, "pending");
    fleet_write_pending(plane_fleet(request->plane), change->nonce, &writer);
    json_end_object(&writer);
    routing_etag(&change->state, etag);
    http_add_header(response, "ETag", etag);
}

void api_patch_routing(const struct http_request *request, struct http_response *response)
{
    struct plane_wish wish = {.if_match = http_header(request, "If-Match"),
                              .adopt = http_query_flag(request, "adopt")};
    struct routing_problem problem;
    struct dynbuf body;
    char agent[HTTP_AGENT_SIZE];
    response->close = true; /* until the body is read */
    if (!has_json_type(request)) {
        http_problem(response, 415,
                     "Content-Type must be application/json or application/merge-patch+json", NULL);
        http_add_header(response, "Accept-Patch", "application/merge-patch+json, application/json");
        return;
    }
    dynbuf_init(&body, HTTP_BODY_MAX);
    bool good = http_read_body(request, &body, response);
    if (good) {
        response->close = false;
        good = routing_parse_patch(dynbuf_text(&body), body.length, ROUTING_GROUP_ROUTING,
                                   &wish.change.patch, &problem);
        if (!good)
            http_problem(response, problem.status, problem.detail,
                         problem.status == 422 ? problem.pointer : NULL);
    }
    dynbuf_fini(&body);
    if (!good)
        return;

    struct plane_change change;
    wish.actor = http_actor(request, agent);
    plane_change(request->plane, &wish, &change);
    answer_change(request, &change, response);
}
