/* Gates: the checks that must hold before a move to another phase. Pure: figures and limits in,
 * verdicts out. The table is gates.def. A figure nobody has is unknown, and an unknown figure never
 * lets anybody through. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum gate {
#define GATE(symbol, name, meaning) GATE_##symbol,
#include "controlplane/gates.def"
#undef GATE
    GATE_COUNT
};

#define GATE_BIT(symbol) (UINT32_C(1) << GATE_##symbol)
/* Sets of them that moves.def speaks of. */
#define GATES_FLEET    (GATE_BIT(DATAPLANES) | GATE_BIT(CONVERGED))
#define GATES_CLUSTERS (GATE_BIT(ORIGIN_HEALTH) | GATE_BIT(TARGET_HEALTH))
#define GATES_TARGET_READS                                                                         \
    (GATE_BIT(ORIGIN_ERRORS) | GATE_BIT(TARGET_ERRORS) | GATE_BIT(TARGET_LATENCY) |                \
     GATE_BIT(FAILED_WRITES) | GATE_BIT(SHADOW_READS))
