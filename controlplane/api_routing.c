/* GET and PATCH of /api/v1/routing and /api/v1/settings: two views of one state. On civetweb's
 * threads; a PATCH may wait for the data planes, up to PLANE_ACK_TIMEOUT_MS. */
#include "controlplane/api_change.h"

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
                        api_state_writer write_state, struct http_response *response)
{
    struct plane_wish wish = {0};
    struct routing_problem problem;
    struct dynbuf body;
    bool good = api_read_json(request, &body, response);
    if (good) {
        good = routing_parse_patch(dynbuf_text(&body), body.length, group, &wish.change.patch,
                                   &problem);
        if (!good)
            api_refuse(&problem, response);
    }
    dynbuf_fini(&body);
    if (!good)
        return;
    wish.adopt = group == ROUTING_GROUP_ROUTING && http_query_flag(request, "adopt");
    api_change(request, &wish, write_state, response);
}

void api_get_routing(const struct http_request *request, struct http_response *response)
{
    get_state(request, routing_write, response);
}

void api_patch_routing(const struct http_request *request, struct http_response *response)
{
    patch_state(request, ROUTING_GROUP_ROUTING, routing_write, response);
}

void api_get_settings(const struct http_request *request, struct http_response *response)
{
    get_state(request, routing_write_settings, response);
}

void api_patch_settings(const struct http_request *request, struct http_response *response)
{
    patch_state(request, ROUTING_GROUP_SETTINGS, routing_write_settings, response);
}
