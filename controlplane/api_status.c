/* What can be read: data planes, metrics, health. On civetweb's threads; changes
 * nothing. */
#include "common/json.h"
#include "common/promtext.h"
#include "controlplane/http.h"
#include "controlplane/metrics.h"
#include "controlplane/state_metrics.h"

void api_get_dataplanes(const struct http_request *request, struct http_response *response)
{
    struct json_writer writer;
    struct routing_state state;
    store_read(plane_store(request->plane), &state);
    json_writer_init(&writer, &response->body);
    json_begin_object(&writer);
    json_put_u64(&writer, "revision", state.revision);
    json_put_string(&writer, "store_id", state.store_id);
    json_write_name(&writer, "dataplanes");
    fleet_write(plane_fleet(request->plane), &state, &writer);
    json_end_object(&writer);
}

void api_delete_dataplane(const struct http_request *request, struct http_response *response)
{
    char agent[HTTP_AGENT_SIZE];
    char error[512];
    enum fleet_forgotten result;
    struct store_actor actor = http_actor(request, agent);
    if (!plane_forget_dataplane(request->plane, request->parameter, &actor, &result, error,
                                sizeof error)) {
        http_problem(response, 503, error, NULL);
        return;
    }
    switch (result) {
    case FLEET_FORGOTTEN:
        response->status = 204;
        break;
    case FLEET_UNKNOWN:
        http_problem(response, 404, "no data plane of this id is known", NULL);
        break;
    case FLEET_CONNECTED:
        http_problem(response, 409,
                     "this data plane is connected; only one that is gone can be forgotten", NULL);
        break;
    }
}

void api_get_metrics(const struct http_request *request, struct http_response *response)
{
    struct change_facts facts;
    struct fleet_summary summary;
    plane_facts(request->plane, &facts);
    const struct routing_state *state = &facts.present;
    fleet_summary(plane_fleet(request->plane), state, &summary);
    control_metrics_set(CONTROL_METRIC_DATAPLANES_CONNECTED, summary.connected);
    control_metrics_set(CONTROL_METRIC_DATAPLANES_DISCONNECTED, summary.disconnected);
    control_metrics_set(CONTROL_METRIC_DATAPLANES_IN_SYNC, summary.in_sync);
    control_metrics_set(CONTROL_METRIC_ROUTING_REVISION, (int64_t)state->revision);
    control_metrics_set(CONTROL_METRIC_FORWARD_READS, state->forward_reads_to_target);
    control_metrics_set(CONTROL_METRIC_FORWARD_SYSTEM_QUERIES,
                        state->forward_system_queries_to_target);
    control_metrics_set(CONTROL_METRIC_SHADOW_READ_PERCENT, state->shadow_read_percent);
    control_metrics_set(CONTROL_METRIC_CANARY_READ_PERCENT, state->canary_read_percent);
    control_metrics_set(CONTROL_METRIC_WRITE_TO_ORIGIN, state->write_to_origin);
    control_metrics_set(CONTROL_METRIC_WRITE_TO_TARGET, state->write_to_target);
    response->content_type = PROMTEXT_CONTENT_TYPE;
    state_metrics_render(&facts, &response->body);
    control_metrics_render(&response->body);
}

void api_get_liveness(const struct http_request *request, struct http_response *response)
{
    (void)request;
    dynbuf_append_text(&response->body, "{\"status\":\"UP\"}");
}

void api_get_readiness(const struct http_request *request, struct http_response *response)
{
    struct routing_state state;
    struct fleet_summary summary;
    struct json_writer writer;
    bool is_up = !plane_is_closing(request->plane);
    store_read(plane_store(request->plane), &state);
    fleet_summary(plane_fleet(request->plane), &state, &summary);
    response->status = is_up ? 200 : 503;
    json_writer_init(&writer, &response->body);
    json_begin_object(&writer);
    json_put_string(&writer, "status", is_up ? "UP" : "STOPPING");
    json_put_u64(&writer, "revision", state.revision);
    json_put_u64(&writer, "dataplanes_connected", summary.connected);
    json_put_u64(&writer, "dataplanes_in_sync", summary.in_sync);
    json_end_object(&writer);
}
