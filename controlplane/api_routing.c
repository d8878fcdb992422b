/* GET and PATCH of /api/v1/routing and /api/v1/settings: two views of one state. On civetweb's
 * threads; a PATCH may wait for the data planes, up to PLANE_WAIT_MAX_S. */
#include "controlplane/api_change.h"
#include "controlplane/json_body.h"

static void get_state(const struct http_request *request, api_state_writer write_state,
                      struct http_response *response)
{
    struct routing_state state;
    struct json_writer writer;
    store_read(plane_store(request->plane), &state);
    json_writer_init(&writer, &response->body);
    json_begin_object(&writer);
    write_state(&state, &writer);
    json_end_object(&writer);
    api_add_etag(request, &state, response);
}

static void patch_state(const struct http_request *request, enum routing_group group,
                        const char *const *parameters, api_state_writer write_state,
                        struct http_response *response)
{
    struct plane_wish wish = {0};
    struct routing_problem problem;
    struct dynbuf body;
    bool good = json_body_text(request, json_body_merge_patch, &body, response);
    if (good) {
        good = routing_parse_patch(dynbuf_text(&body), body.length, group, &wish.change.patch,
                                   &problem);
        if (!good)
            json_body_refuse(&problem, response);
    }
    dynbuf_fini(&body);
    if (!good)
        return;
    api_change(request, &wish, parameters, write_state, response);
}

void api_get_routing(const struct http_request *request, struct http_response *response)
{
    get_state(request, routing_write, response);
}

void api_patch_routing(const struct http_request *request, struct http_response *response)
{
    static const char *const parameters[] = {"adopt", "dry_run", "wait", NULL};
    patch_state(request, ROUTING_GROUP_ROUTING, parameters, routing_write, response);
}

void api_get_settings(const struct http_request *request, struct http_response *response)
{
    get_state(request, routing_write_settings, response);
}

void api_patch_settings(const struct http_request *request, struct http_response *response)
{
    static const char *const parameters[] = {"dry_run", "wait", NULL};
    patch_state(request, ROUTING_GROUP_SETTINGS, parameters, routing_write_settings, response);
}
