/* A change before it is made: from the present state and a wish to the next state, or to the reason
 * why not. Every way an operator changes the routing state goes through here. Pure: facts in, plan
 * out. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/check.h"
#include "controlplane/phase.h"
#include "controlplane/routing.h"

/* What somebody wants of the state. */
struct change_wish {
    struct routing_patch patch;
};

/* What the wish is measured against. */
struct change_facts {
    struct routing_state present;
};

struct change_plan {
    struct routing_patch patch; /* that makes next of the present state */
    struct routing_state next;
    enum phase from, to;
    struct routing_problem problem; /* when there is no plan */
};

/* false: plan->problem says why not. */
MUST_CHECK bool change_plan(const struct change_facts *facts, const struct change_wish *wish,
                            struct change_plan *plan);
