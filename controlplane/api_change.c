/* Changes of the routing state over REST. On civetweb's threads; may wait for the data planes, up
 * to PLANE_WAIT_MAX_S. */
#include "controlplane/api_change.h"

#include <stdio.h>
#include <string.h>

#include "controlplane/idempotency.h"
#include "controlplane/json_body.h"

void api_add_etag(const struct http_request *request, const struct routing_state *state,
                  struct http_response *response)
{
    char etag[ROUTING_ETAG_SIZE];
    const char *if_none_match = http_header(request, "If-None-Match");
    routing_etag(state, etag);
    http_add_header(response, "ETag", etag);
    if (if_none_match != NULL && strstr(if_none_match, etag) != NULL)
        response->status = 304;
}

bool api_query_wait(const struct http_request *request, unsigned fallback_ms, unsigned *wait_ms,
                    struct http_response *response)
{
    unsigned long long seconds = 0;
    *wait_ms = fallback_ms;
    if (!http_query_number(request, "wait", 0, PLANE_WAIT_MAX_S, fallback_ms / 1000, &seconds)) {
        http_problem(response, 400, "wait must be a number of seconds from 0 to 80", NULL);
        return false;
    }
    *wait_ms = (unsigned)seconds * 1000;
    return true;
}

static void write_plan(const struct change_plan *plan, struct json_writer *writer)
{
    json_put_string(writer, "phase_before", phase_name(plan->from));
    json_put_string(writer, "phase_after", phase_name(plan->to));
    json_put_bool(writer, "confirmation_needed", plan->needs_confirmation);
    json_put_string(writer, "warning", plan->warning);
    json_write_name(writer, "checks");
    gate_write(plan->checks, plan->check_count, writer);
}

static void extend_problem(const void *context, struct json_writer *writer)
{
    write_plan(context, writer);
}

static void answer_refusal(const struct change_plan *plan, struct http_response *response)
{
    const struct routing_problem *problem = &plan->problem;
    if (plan->is_held_by_gates || strcmp(problem->pointer, "/confirm") == 0)
        http_problem_with(response, problem->status, problem->detail,
                          problem->pointer[0] != '\0' ? problem->pointer : NULL, extend_problem,
                          plan);
    else
        json_body_refuse(problem, response);
}

static void answer_plan(const struct plane_change *change, struct http_response *response)
{
    struct json_writer writer;
    json_writer_init(&writer, &response->body);
    json_begin_object(&writer);
    json_put_bool(&writer, "dry_run", true);
    json_put_u64(&writer, "revision", change->before.revision);
    json_write_name(&writer, "changes");
    change_write_diff(&change->before, &change->plan.next, &writer);
    json_put_bool(&writer, "gates_hold", change->plan.gates_hold);
    write_plan(&change->plan, &writer);
    json_end_object(&writer);
}

static void answer_state(const struct http_request *request, const struct plane_change *change,
                         api_state_writer write_state, struct http_response *response)
{
    char location[64];
    struct json_writer writer;
    json_writer_init(&writer, &response->body);
    json_begin_object(&writer);
    write_state(&change->state, &writer);
    if (!change->is_everywhere) {
        snprintf(location, sizeof location, "/api/v1/operations/%llu",
                 (unsigned long long)change->state.revision);
        http_add_header(response, "Location", location);
        response->status = 202;
        json_write_name(&writer, "pending");
        fleet_write_pending(plane_fleet(request->plane), &change->published, &writer);
    }
    json_end_object(&writer);
}

static void answer(const struct http_request *request, const struct plane_change *change,
                   api_state_writer write_state, struct http_response *response)
{
    char etag[ROUTING_ETAG_SIZE];
    switch (change->verdict) {
    case PLANE_REFUSED:
        answer_refusal(&change->plan, response);
        return;
    case PLANE_FAILED: /* a full or broken disk: nothing was changed, and it may work later */
        http_problem(response, 503, change->error, NULL);
        http_add_header(response, "Retry-After", "5");
        return;
    case PLANE_STALE:
        http_problem(response, 412, "If-Match is stale: the state has changed since; read it again",
                     NULL);
        break;
    case PLANE_PLANNED:
        answer_plan(change, response);
        break;
    case PLANE_CHANGED:
    case PLANE_UNCHANGED:
        answer_state(request, change, write_state, response);
        break;
    }
    routing_etag(&change->state, etag);
    http_add_header(response, "ETag", etag);
}

/* The change was made, but its answer is lost: how the state stands now, as to a patch that changes
 * nothing. */
static void tell_present(const struct http_request *request, const struct plane_wish *wish,
                         struct plane_change *change)
{
    *change = (struct plane_change){.verdict = PLANE_UNCHANGED};
    plane_standing(request->plane, &change->state, &change->published);
    change->is_everywhere = plane_wait(request->plane, &change->published, wish->wait_ms);
}

/* A phase sets every member of the state: who asks for one has seen the state, or says that it does
 * not matter. A patch touches nothing but what it names. false: response holds the problem. */
static bool has_seen_state(const struct http_request *request, const struct plane_wish *wish,
                           struct http_response *response)
{
    struct routing_state state;
    char etag[ROUTING_ETAG_SIZE];
    if (!wish->change.is_phase || wish->if_match != NULL || wish->is_dry_run)
        return true;
    store_read(plane_store(request->plane), &state);
    routing_etag(&state, etag);
    http_problem(response, 428,
                 "a phase sets the whole state: send If-Match with the ETag of the state you have "
                 "seen (GET /api/v1/phase), or * to change it whatever it is",
                 NULL);
    http_add_header(response, "ETag", etag);
    return false;
}

void api_change(const struct http_request *request, struct plane_wish *wish,
                const char *const *parameters, api_state_writer write_state,
                struct http_response *response)
{
    struct plane_change change;
    char agent[HTTP_AGENT_SIZE];
    const char *reason = wish->actor.reason;
    if (!http_query_only(request, parameters, response) ||
        !http_query_bool(request, "adopt", &wish->adopt, response) ||
        !http_query_bool(request, "dry_run", &wish->is_dry_run, response) ||
        !api_query_wait(request, PLANE_ACK_TIMEOUT_MS, &wish->wait_ms, response))
        return;
    wish->if_match = http_header(request, "If-Match");
    if (!has_seen_state(request, wish, response))
        return;
    wish->actor = http_actor(request, agent);
    wish->actor.reason = reason;
    if (request->turn->is_made)
        tell_present(request, wish, &change);
    else
        plane_change(request->plane, wish, &change);
    answer(request, &change, write_state, response);
}
