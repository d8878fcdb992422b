/* GET and PUT /api/v1/phase. On civetweb's threads; a PUT may wait for the data planes, up to
 * PLANE_WAIT_MAX_S. */
#include "controlplane/api_change.h"
#include "controlplane/json_body.h"
#include "controlplane/phase_request.h"

static void write_gate_names(uint32_t gates, struct json_writer *writer)
{
    json_begin_array(writer);
    for (unsigned gate = 0; gate < GATE_COUNT; gate++)
        if ((gates >> gate & 1) != 0)
            json_write_string(writer, gate_name((enum gate)gate));
    json_end_array(writer);
}

/* One of the phases as seen from the present one. */
static void write_phase(const struct change_facts *facts, enum phase present, enum phase phase,
                        struct json_writer *writer)
{
    struct phase_move move = phase_move(present, phase);
    struct gate_check checks[GATE_COUNT];
    struct dynbuf warning;
    bool gates_hold;
    (void)gate_check_all(move.gates, &facts->figures, &facts->limits, checks, &gates_hold);
    dynbuf_init(&warning, 4096);
    phase_warn(present, phase, &facts->since, &warning);
    json_begin_object(writer);
    json_put_string(writer, "name", phase_name(phase));
    json_put_string(writer, "meaning", phase_meaning(phase));
    json_put_bool(writer, "is_present", phase == present);
    json_put_bool(writer, "is_allowed", move.is_allowed);
    json_put_bool(writer, "is_forward", move.is_forward);
    json_put_bool(writer, "confirmation_needed", move.needs_confirmation);
    json_put_string(writer, "warning", move.is_allowed ? dynbuf_text(&warning) : "");
    json_write_name(writer, "gates");
    write_gate_names(move.gates, writer);
    json_put_bool(writer, "gates_hold", move.is_allowed && gates_hold);
    json_end_object(writer);
    dynbuf_fini(&warning);
}

/* What of the state is not as the phase's preset would have it; shares are free within the phase.
 */
static void write_differences(const struct routing_state *state, enum phase phase,
                              struct json_writer *writer)
{
    struct routing_state preset = *state;
    struct routing_patch patch;
    struct routing_problem problem;
    const struct phase_shares none = {0};
    if (phase_preset(phase, state, &none, &patch, &problem))
        (void)routing_apply_patch(&preset, &patch);
    change_write_diff(state, &preset, writer);
}

void api_get_phase(const struct http_request *request, struct http_response *response)
{
    struct change_facts facts;
    struct gate_check checks[GATE_COUNT];
    struct json_writer writer;
    bool all_hold;
    plane_facts(request->plane, &facts);
    enum phase present = phase_of(&facts.present);
    json_writer_init(&writer, &response->body);
    json_begin_object(&writer);
    json_put_u64(&writer, "revision", facts.present.revision);
    json_put_string(&writer, "phase", phase_name(present));
    json_put_string(&writer, "meaning", phase_meaning(present));
    json_put_u64(&writer, "since_revision", facts.since.revision);
    json_put_i64(&writer, "since_ms", facts.since.time_ms);
    json_put_u64(&writer, "shadow_read_percent", facts.present.shadow_read_percent);
    json_put_u64(&writer, "canary_read_percent", facts.present.canary_read_percent);
    json_write_name(&writer, "differences");
    write_differences(&facts.present, present, &writer);
    json_write_name(&writer, "phases");
    json_begin_array(&writer);
    for (int phase = 0; phase < PHASE_COUNT; phase++)
        write_phase(&facts, present, (enum phase)phase, &writer);
    json_end_array(&writer);
    json_write_name(&writer, "gates");
    gate_write(checks, gate_check_all(GATES_ALL, &facts.figures, &facts.limits, checks, &all_hold),
               &writer);
    json_end_object(&writer);
    /* The figures change without a revision: the tag is for If-Match alone. */
    char etag[ROUTING_ETAG_SIZE];
    routing_etag(&facts.present, etag);
    http_add_header(response, "ETag", etag);
}

void api_put_phase(const struct http_request *request, struct http_response *response)
{
    static const char *const parameters[] = {"dry_run", "wait", NULL};
    struct phase_request wanted;
    struct routing_problem problem;
    struct plane_wish wish = {0};
    struct dynbuf body;
    bool good = json_body_text(request, json_body_plain, &body, response);
    if (good) {
        good = phase_request_parse(dynbuf_text(&body), body.length, &wanted, &problem);
        if (!good)
            json_body_refuse(&problem, response);
    }
    dynbuf_fini(&body);
    if (!good || (wanted.force && !http_require_role(request, ROLE_ADMIN, "force", response)))
        return;
    phase_request_wish(&wanted, &wish.change);
    wish.actor.reason = wish.change.has_reason ? wanted.reason : NULL;
    api_change(request, &wish, parameters, routing_write, response);
}
