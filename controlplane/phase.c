/* The phases: from a state to its phase, from a phase to its preset, and what lies between two.
 * Pure; any thread; must never do I/O. */
#include "controlplane/phase.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "controlplane/gate.h"

/* The columns of phases.def. */
enum cluster_word { ORIGIN, TARGET };
struct share {
    uint8_t least, usual, most;
};
#define NONE                                                                                       \
    {                                                                                              \
        0, 0, 0                                                                                    \
    }
#define MAY                                                                                        \
    {                                                                                              \
        0, 0, 100                                                                                  \
    }
#define MUST(usual)                                                                                \
    {                                                                                              \
        1, usual, 100                                                                              \
    }

struct row {
    const char *name;
    enum cluster_word reads, system;
    bool write_to_origin, write_to_target;
    struct share shadow, canary;
    const char *meaning;
};

static const struct row rows[PHASE_COUNT] = {
#define PHASE(symbol, name, reads, system, write_to_origin, write_to_target, shadow, canary,       \
              meaning)                                                                             \
    {name, reads, system, write_to_origin, write_to_target, shadow, canary, meaning},
#include "controlplane/phases.def"
#undef PHASE
};

struct move {
    enum phase from, to;
    bool needs_confirmation;
    uint32_t gates;
};

static const struct move moves[] = {
#define CONFIRM                             true
#define FREE                                false
#define MOVE(from, to, confirmation, gates) {PHASE_##from, PHASE_##to, confirmation, gates},
#include "controlplane/moves.def"
#undef MOVE
#undef CONFIRM
#undef FREE
};

const char *phase_name(enum phase phase)
{
    return rows[phase].name;
}

const char *phase_meaning(enum phase phase)
{
    return rows[phase].meaning;
}

bool phase_parse(const char *text, enum phase *phase)
{
    for (int i = 0; i < PHASE_COUNT; i++) {
        if (strcmp(rows[i].name, text) == 0) {
            *phase = (enum phase)i;
            return true;
        }
    }
    return false;
}

enum phase phase_of(const struct routing_state *state)
{
    if (!state->write_to_target)
        return PHASE_PASSTHROUGH;
    if (!state->write_to_origin)
        return PHASE_TARGET_ONLY;
    if (state->forward_reads_to_target)
        return PHASE_TARGET_PRIMARY;
    if (state->canary_read_percent > 0)
        return PHASE_CANARY_READ;
    return state->shadow_read_percent > 0 ? PHASE_SHADOW_READ : PHASE_DUAL_WRITE;
}

bool phase_check_state(const struct routing_state *state, struct routing_problem *problem)
{
    bool is_split = state->write_to_origin && state->write_to_target;
    bool reads_target = state->forward_reads_to_target;
    bool system_target = state->forward_system_queries_to_target;
    if (!state->write_to_origin && !state->write_to_target)
        return routing_fail(problem, 422, "/write_to_target",
                            "write_to_origin and write_to_target cannot both be false: writes "
                            "must go somewhere");
    if (!is_split && reads_target != state->write_to_target)
        return routing_fail(problem, 422, "/forward_reads_to_target",
                            reads_target ? "the target gets no writes (write_to_target is false), "
                                           "so it must not answer reads"
                                         : "the origin gets no writes (write_to_origin is false), "
                                           "so it must not answer reads");
    if (!is_split && system_target != state->write_to_target)
        return routing_fail(problem, 422, "/forward_system_queries_to_target",
                            system_target ? "the target is not in use (write_to_target is false), "
                                            "so it must not answer for system keyspaces"
                                          : "the origin is not in use (write_to_origin is false), "
                                            "so it must not answer for system keyspaces");
    if (!is_split && state->shadow_read_percent > 0)
        return routing_fail(problem, 422, "/shadow_read_percent",
                            "shadow reads need both clusters, and writes go to one alone");
    if (state->canary_read_percent > 0 && (!is_split || reads_target))
        return routing_fail(problem, 422, "/canary_read_percent",
                            is_split ? "the target answers all reads already: canary reads need "
                                       "forward_reads_to_target false"
                                     : "canary reads need both clusters, and writes go to one "
                                       "alone");
    return true;
}

/* One share of a preset: what was asked for, what it is (when the phase stays), or the usual. */
static bool choose_share(const struct share *share, const char *name, const char *phase, bool asked,
                         uint8_t wanted, bool stays, uint8_t present, uint8_t *result,
                         struct routing_problem *problem)
{
    char pointer[sizeof problem->pointer];
    char detail[sizeof problem->detail];
    *result = stays && present >= share->least && present <= share->most ? present : share->usual;
    if (!asked)
        return true;
    *result = wanted;
    if (wanted >= share->least && wanted <= share->most)
        return true;
    snprintf(pointer, sizeof pointer, "/%s", name);
    if (share->most == 0)
        snprintf(detail, sizeof detail, "%s is 0 in the phase %s", name, phase);
    else
        snprintf(detail, sizeof detail, "the phase %s needs %s from %u to %u", phase, name,
                 share->least, share->most);
    return routing_fail(problem, 422, pointer, detail);
}

bool phase_preset(enum phase phase, const struct routing_state *present,
                  const struct phase_shares *shares, struct routing_patch *patch,
                  struct routing_problem *problem)
{
    const struct row *row = &rows[phase];
    bool stays = phase_of(present) == phase;
    *patch = (struct routing_patch){
        .has_forward_reads_to_target = true,
        .forward_reads_to_target = row->reads == TARGET,
        .has_forward_system_queries_to_target = true,
        .forward_system_queries_to_target = row->system == TARGET,
        .has_write_to_origin = true,
        .write_to_origin = row->write_to_origin,
        .has_write_to_target = true,
        .write_to_target = row->write_to_target,
        .has_shadow_read_percent = true,
        .has_canary_read_percent = true,
    };
    return choose_share(&row->shadow, "shadow_read_percent", row->name, shares->has_shadow,
                        shares->shadow_read_percent, stays, present->shadow_read_percent,
                        &patch->shadow_read_percent, problem) &&
           choose_share(&row->canary, "canary_read_percent", row->name, shares->has_canary,
                        shares->canary_read_percent, stays, present->canary_read_percent,
                        &patch->canary_read_percent, problem);
}

struct phase_move phase_move(enum phase from, enum phase to)
{
    struct phase_move result = {.is_allowed = from == to, .is_forward = to > from};
    for (size_t i = 0; i < ARRAY_COUNT(moves); i++) {
        if (moves[i].from == from && moves[i].to == to) {
            result.is_allowed = true;
            result.needs_confirmation = moves[i].needs_confirmation;
            result.gates = moves[i].gates;
        }
    }
    return result;
}

void phase_explain_refusal(enum phase from, enum phase to, struct dynbuf *out)
{
    const char *separator = "";
    dynbuf_printf(out, "there is no way from %s to %s; from %s one can go to ", phase_name(from),
                  phase_name(to), phase_name(from));
    for (int i = 0; i < PHASE_COUNT; i++) {
        if (i == (int)from || !phase_move(from, (enum phase)i).is_allowed)
            continue;
        dynbuf_printf(out, "%s%s", separator, rows[i].name);
        separator = ", ";
    }
}

static void put_since(const struct phase_since *since, struct dynbuf *out)
{
    char text[40];
    struct tm parts;
    time_t seconds = (time_t)(since->time_ms / 1000);
    gmtime_r(&seconds, &parts);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    dynbuf_printf(out, "since %s (revision %llu)", text, (unsigned long long)since->revision);
}

void phase_warn(enum phase from, enum phase to, const struct phase_since *since, struct dynbuf *out)
{
    if (from == to)
        return;
    if (from == PHASE_PASSTHROUGH || from == PHASE_TARGET_ONLY) {
        bool is_target = from == PHASE_PASSTHROUGH;
        const char *idle = is_target ? "target" : "origin";
        dynbuf_printf(out, "The %s has seen no writes ", idle);
        put_since(since, out);
        dynbuf_printf(out, ": what was written from then until this move is in the %s alone.",
                      is_target ? "origin" : "target");
        if (is_target)
            dynbuf_append_text(out, " Copy it to the target before the target answers reads.");
        else if (rows[to].reads == ORIGIN)
            dynbuf_append_text(out,
                               " Reads go back to the origin with this move, and will not find "
                               "it.");
        else
            dynbuf_append_text(out,
                               " Copy it to the origin before the origin answers reads again.");
        dynbuf_append_text(out, " Rows deleted since then are still there.");
    }
    if (to == PHASE_PASSTHROUGH || to == PHASE_TARGET_ONLY) {
        bool is_target = to == PHASE_PASSTHROUGH;
        dynbuf_printf(out,
                      "%sThe %s gets no more writes from this move on: coming back later means "
                      "copying what it will have missed.",
                      out->length > 0 ? " " : "", is_target ? "target" : "origin");
    }
}
