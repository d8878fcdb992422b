/* Plans of changes: is the next state one there may be, is there a way to it, and does what the way
 * needs hold? Pure; any thread; must never do I/O. */
#include "controlplane/change.h"

#include <stdio.h>
#include <string.h>

#define TEXT_MAX 4096 /* more than any of the sentences here */

static bool fail_text(struct routing_problem *problem, int status, const char *pointer,
                      struct dynbuf *detail)
{
    routing_fail(problem, status, pointer, dynbuf_text(detail));
    dynbuf_fini(detail);
    return false;
}

/* A patch of members may move within the middle phases. Where a cluster ceases to get writes, or
 * has missed them, gates and confirmation must not be walked around: that is for PUT /api/v1/phase.
 */
static bool check_patch_move(const struct change_plan *plan, const struct phase_move *move,
                             struct routing_problem *problem)
{
    struct dynbuf detail;
    bool is_end = !plan->next.write_to_origin || !plan->next.write_to_target;
    if (plan->from == plan->to || (!is_end && !move->needs_confirmation))
        return true;
    dynbuf_init(&detail, TEXT_MAX);
    if (move->needs_confirmation)
        dynbuf_printf(&detail, "this leaves the phase %s for %s, which wants confirmation",
                      phase_name(plan->from), phase_name(plan->to));
    else
        dynbuf_printf(&detail,
                      "this goes from %s to %s, where only one cluster gets the writes: such a "
                      "move is checked first",
                      phase_name(plan->from), phase_name(plan->to));
    dynbuf_append_text(&detail, "; use PUT /api/v1/phase (cloudgatectl phase set)");
    return fail_text(problem, 409, "", &detail);
}

static bool check_confirmation(const struct change_plan *plan, const struct change_wish *wish,
                               struct routing_problem *problem)
{
    struct dynbuf detail;
    if (!plan->needs_confirmation || wish->is_dry_run ||
        (wish->confirm != NULL && strcmp(wish->confirm, phase_name(plan->to)) == 0))
        return true;
    dynbuf_init(&detail, TEXT_MAX);
    dynbuf_printf(&detail, "to go from %s to %s, confirm must be \"%s\". %s",
                  phase_name(plan->from), phase_name(plan->to), phase_name(plan->to),
                  plan->warning);
    return fail_text(problem, 409, "/confirm", &detail);
}

static bool check_gates(struct change_plan *plan, const struct change_wish *wish)
{
    struct dynbuf detail;
    unsigned failing = 0;
    if (plan->gates_hold || wish->is_dry_run)
        return true;
    if (wish->force)
        return wish->has_reason ||
               routing_fail(&plan->problem, 422, "/reason", "force wants a reason");
    plan->is_held_by_gates = true;
    for (size_t i = 0; i < plan->check_count; i++)
        failing += plan->checks[i].verdict != GATE_HOLDS;
    dynbuf_init(&detail, TEXT_MAX);
    dynbuf_printf(&detail, "%u of the %zu checks for the phase %s %s not hold:", failing,
                  plan->check_count, phase_name(plan->to), failing == 1 ? "does" : "do");
    for (size_t i = 0; i < plan->check_count; i++)
        if (plan->checks[i].verdict != GATE_HOLDS)
            dynbuf_printf(&detail, " %s%s", gate_name(plan->checks[i].gate),
                          plan->checks[i].verdict == GATE_UNKNOWN ? " (unknown)" : "");
    return fail_text(&plan->problem, 409, "", &detail);
}

/* More canary reads are a step forward within the phase. */
static uint32_t gates_of(const struct change_facts *facts, const struct change_plan *plan,
                         const struct phase_move *move)
{
    if (plan->from == plan->to &&
        plan->next.canary_read_percent > facts->present.canary_read_percent)
        return phase_move(PHASE_DUAL_WRITE, PHASE_CANARY_READ).gates;
    return move->gates;
}

bool change_plan(const struct change_facts *facts, const struct change_wish *wish,
                 struct change_plan *plan)
{
    struct dynbuf text;
    *plan = (struct change_plan){.patch = wish->patch, .next = facts->present, .gates_hold = true};
    plan->from = phase_of(&facts->present);
    if (wish->is_phase &&
        !phase_preset(wish->phase, &facts->present, &wish->shares, &plan->patch, &plan->problem))
        return false;
    plan->changes = routing_apply_patch(&plan->next, &plan->patch);
    plan->to = phase_of(&plan->next);
    if (!phase_check_state(&plan->next, &plan->problem))
        return false;

    struct phase_move move = phase_move(plan->from, plan->to);
    plan->needs_confirmation = move.needs_confirmation;
    dynbuf_init(&text, TEXT_MAX);
    if (!move.is_allowed) {
        phase_explain_refusal(plan->from, plan->to, &text);
        return fail_text(&plan->problem, 409, wish->is_phase ? "/phase" : "", &text);
    }
    phase_warn(plan->from, plan->to, &facts->since, &text);
    snprintf(plan->warning, sizeof plan->warning, "%s", dynbuf_text(&text));
    dynbuf_fini(&text);
    if (!wish->is_phase)
        return check_patch_move(plan, &move, &plan->problem);
    if (plan->changes)
        plan->check_count = gate_check_all(gates_of(facts, plan, &move), &facts->figures,
                                           &facts->limits, plan->checks, &plan->gates_hold);
    return check_confirmation(plan, wish, &plan->problem) && check_gates(plan, wish);
}

void change_write_diff(const struct routing_state *before, const struct routing_state *after,
                       struct json_writer *writer)
{
    json_begin_array(writer);
    for (size_t i = 0; i < routing_member_count; i++) {
        const struct routing_member *member = &routing_members[i];
        if (routing_get(before, member) == routing_get(after, member))
            continue;
        json_begin_object(writer);
        json_put_string(writer, "member", member->name);
        json_write_name(writer, "before");
        routing_write_value(before, member, writer);
        json_write_name(writer, "after");
        routing_write_value(after, member, writer);
        json_end_object(writer);
    }
    json_end_array(writer);
}
