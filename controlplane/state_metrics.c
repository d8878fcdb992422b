/* One series a phase and one a gate and verdict, 1 for what is so and 0 for the others, as alerts
 * like them. Pure; any thread. */
#include "controlplane/state_metrics.h"

#include <stdio.h>

#include "common/promtext.h"
#include "controlplane/metrics.h"

#define PHASE_FAMILY CONTROL_METRICS_PREFIX "phase"
#define GATE_FAMILY  CONTROL_METRICS_PREFIX "gate"

static void render_phase(const struct routing_state *state, struct dynbuf *out)
{
    char labels[64];
    enum phase present = phase_of(state);
    promtext_family(out, PHASE_FAMILY, "gauge", "1 for the phase the migration is in");
    for (int phase = 0; phase < PHASE_COUNT; phase++) {
        snprintf(labels, sizeof labels, "phase=\"%s\"", phase_name((enum phase)phase));
        promtext_sample(out, PHASE_FAMILY, labels, (enum phase)phase == present);
    }
}

void state_metrics_render(const struct change_facts *facts, struct dynbuf *out)
{
    static const char *const words[] = {
        [GATE_HOLDS] = "holds", [GATE_FAILS] = "fails", [GATE_UNKNOWN] = "unknown"};
    struct gate_check checks[GATE_COUNT];
    char labels[96];
    bool all_hold;
    render_phase(&facts->present, out);
    size_t count = gate_check_all(GATES_ALL, &facts->figures, &facts->limits, checks, &all_hold);
    promtext_family(out, GATE_FAMILY, "gauge", "1 for the verdict of each check of the phases");
    for (size_t i = 0; i < count; i++) {
        for (unsigned verdict = 0; verdict < ARRAY_COUNT(words); verdict++) {
            snprintf(labels, sizeof labels, "gate=\"%s\",verdict=\"%s\"", gate_name(checks[i].gate),
                     words[verdict]);
            promtext_sample(out, GATE_FAMILY, labels, checks[i].verdict == verdict);
        }
    }
}
