/* Gates: the checks that must hold before a move to another phase. Pure: figures and limits in,
 * verdicts out. The table is gates.def. A figure nobody has is unknown, and an unknown figure never
 * lets anybody through. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/json.h"

enum gate {
#define GATE(symbol, name, meaning) GATE_##symbol,
#include "controlplane/gates.def"
#undef GATE
    GATE_COUNT
};

#define GATE_BIT(symbol) (UINT32_C(1) << GATE_##symbol)
/* Sets of them that moves.def speaks of. */
#define GATES_ALL      ((UINT32_C(1) << GATE_COUNT) - 1)
#define GATES_FLEET    (GATE_BIT(DATAPLANES) | GATE_BIT(CONVERGED))
#define GATES_CLUSTERS (GATE_BIT(ORIGIN_HEALTH) | GATE_BIT(TARGET_HEALTH))
#define GATES_TARGET_READS                                                                         \
    (GATE_BIT(FAILED_READS) | GATE_BIT(ORIGIN_ERRORS) | GATE_BIT(TARGET_ERRORS) |                  \
     GATE_BIT(TARGET_LATENCY) | GATE_BIT(FAILED_WRITES) | GATE_BIT(SHADOW_READS))

#define GATE_WINDOW_S 300 /* "lately", for shares and percentiles */

/* Of total requests in the window, failed did. */
struct gate_share {
    bool is_known;
    uint64_t total, failed;
};

/* How many of the connected data planes say that a cluster is well. */
struct gate_health {
    bool is_known;
    unsigned healthy;
};

struct gate_figures {
    unsigned connected, in_sync, disconnected;
    char straggler[128]; /* address of a data plane that is away or not in sync; "": none */
    struct gate_health origin_health, target_health;
    struct gate_share reads; /* as clients saw them, whoever answered */
    struct gate_share origin, target;
    struct gate_share shadow;
    bool is_shadow_in_use;
    bool are_latencies_known;
    uint64_t origin_p99_us, target_p99_us;
    bool are_failed_writes_known;
    uint64_t failed_writes; /* over the last failed_writes_s seconds */
    unsigned failed_writes_s;
};

struct gate_limits {
    double error_percent;     /* the largest share of failed requests */
    unsigned latency_percent; /* the target's percentile may be this share of the origin's … */
    unsigned latency_ms;      /* … or this much above it, whichever is more */
    unsigned quiet_minutes;   /* how long no write may have failed */
};

enum gate_verdict { GATE_HOLDS, GATE_FAILS, GATE_UNKNOWN };

struct gate_check {
    enum gate gate;
    enum gate_verdict verdict;
    char figure[48], limit[48]; /* short, for a table */
    char detail[400];           /* one sentence */
};

const char *gate_name(enum gate gate);
const char *gate_meaning(enum gate gate);
void gate_check(enum gate gate, const struct gate_figures *figures,
                const struct gate_limits *limits, struct gate_check *check);
/* Checks those of gates (bits), in table order; returns how many. *all_hold: whether all do. */
size_t gate_check_all(uint32_t gates, const struct gate_figures *figures,
                      const struct gate_limits *limits, struct gate_check checks[GATE_COUNT],
                      bool *all_hold);
/* The checks as an array of {name, meaning, ok, known, figure, limit, detail}. */
void gate_write(const struct gate_check *checks, size_t count, struct json_writer *writer);
