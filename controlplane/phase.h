/* The phases of a migration. Every valid routing state is in exactly one; a move between them sets
 * a preset of members. Pure: values in, values out. Tables: phases.def, moves.def; text for
 * operators: docs/phases.md. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "controlplane/routing.h"

enum phase {
#define PHASE(symbol, name, reads, system, write_to_origin, write_to_target, shadow, canary,       \
              meaning)                                                                             \
    PHASE_##symbol,
#include "controlplane/phases.def"
#undef PHASE
    PHASE_COUNT
};

const char *phase_name(enum phase phase);
const char *phase_meaning(enum phase phase);
/* false: no phase has this name. */
MUST_CHECK bool phase_parse(const char *text, enum phase *phase);

/* The rules between members, for every way a state changes: not both writes off; who gets no writes
 * answers no reads, real, system, shadow or canary; no canary reads of a primary. false: *problem
 * (422) names the member at fault. */
MUST_CHECK bool phase_check_state(const struct routing_state *state,
                                  struct routing_problem *problem);
/* The phase of a state; total: a state the rules forbid has one as well. */
enum phase phase_of(const struct routing_state *state);

/* The shares of reads an operator asks for along with a phase. */
struct phase_shares {
    bool has_shadow, has_canary;
    uint8_t shadow_read_percent, canary_read_percent;
};

/* The members phase sets, as a patch of all of them. A share nobody asks for stays what it is when
 * the phase stays, and is the phase's own otherwise. false: the phase has no such share; *problem
 * (422) says which. */
MUST_CHECK bool phase_preset(enum phase phase, const struct routing_state *present,
                             const struct phase_shares *shares, struct routing_patch *patch,
                             struct routing_problem *problem);

/* What lies between two phases. Staying is allowed, unconfirmed and ungated. */
struct phase_move {
    bool is_allowed;
    bool needs_confirmation;
    bool is_forward;
    uint32_t gates; /* GATE_BIT of each gate that must hold (gate.h) */
};

struct phase_move phase_move(enum phase from, enum phase to);

/* Appends why a move that is not allowed is not, and what is: the phases one can go to from here.
 */
void phase_explain_refusal(enum phase from, enum phase to, struct dynbuf *out);

/* Since when the present phase holds, as the store knows it. */
struct phase_since {
    uint64_t revision;
    int64_t time_ms;
};

/* Appends what an operator should know before the move, one or more sentences with facts; nothing
 * when there is nothing to say. */
void phase_warn(enum phase from, enum phase to, const struct phase_since *since,
                struct dynbuf *out);
