/* Plans of changes: is the next state one there may be, and is there a way to it? Pure; any thread;
 * must never do I/O. */
#include "controlplane/change.h"

#include <stdio.h>

/* A patch of members may move within the middle phases, and into the ends. What wants to be
 * confirmed, or is no step at all, is for PUT /api/v1/phase to do or refuse. */
static bool check_patch_move(const struct change_plan *plan, struct routing_problem *problem)
{
    struct phase_move move = phase_move(plan->from, plan->to);
    struct dynbuf detail;
    if (move.is_allowed && !move.needs_confirmation)
        return true;
    dynbuf_init(&detail, sizeof problem->detail);
    if (!move.is_allowed)
        phase_explain_refusal(plan->from, plan->to, &detail);
    else
        dynbuf_printf(&detail,
                      "this leaves the phase %s for %s, which wants confirmation: use PUT "
                      "/api/v1/phase (cloudgatectl phase set)",
                      phase_name(plan->from), phase_name(plan->to));
    routing_fail(problem, 409, "", dynbuf_text(&detail));
    dynbuf_fini(&detail);
    return false;
}

bool change_plan(const struct change_facts *facts, const struct change_wish *wish,
                 struct change_plan *plan)
{
    *plan = (struct change_plan){.patch = wish->patch, .next = facts->present};
    (void)routing_apply_patch(&plan->next, &plan->patch);
    plan->from = phase_of(&facts->present);
    plan->to = phase_of(&plan->next);
    return phase_check_state(&plan->next, &plan->problem) && check_patch_move(plan, &plan->problem);
}
