/* A change before it is made: from the present state and a wish to the next state, or to the reason
 * why not. Every way an operator changes the routing state goes through here. Pure: facts in, plan
 * out. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/check.h"
#include "common/json.h"
#include "controlplane/gate.h"
#include "controlplane/phase.h"
#include "controlplane/routing.h"

#define CHANGE_WARNING_SIZE 512

/* What somebody wants of the state: members, or a phase. */
struct change_wish {
    struct routing_patch patch;
    bool is_phase;
    enum phase phase;
    struct phase_shares shares;
    const char *confirm; /* the phase's name, typed again; NULL: it was not */
    bool has_reason;
    bool force;      /* also when gates do not hold */
    bool is_dry_run; /* neither confirmation nor gates are insisted on: the plan tells of them */
};

/* What the wish is measured against. */
struct change_facts {
    struct routing_state present;
    struct phase_since since; /* when the present phase began */
    struct gate_figures figures;
    struct gate_limits limits;
};

struct change_plan {
    struct routing_patch patch; /* that makes next of the present state */
    struct routing_state next;
    enum phase from, to;
    bool changes; /* next differs from the present state */
    bool needs_confirmation;
    char warning[CHANGE_WARNING_SIZE];    /* "": none */
    struct gate_check checks[GATE_COUNT]; /* those the move needs */
    size_t check_count;
    bool gates_hold;
    bool is_held_by_gates;          /* the problem is that they do not */
    struct routing_problem problem; /* when there is no plan */
};

/* false: plan->problem says why not. */
MUST_CHECK bool change_plan(const struct change_facts *facts, const struct change_wish *wish,
                            struct change_plan *plan);

/* The members that differ, as an array of {member, before, after}. */
void change_write_diff(const struct routing_state *before, const struct routing_state *after,
                       struct json_writer *writer);
