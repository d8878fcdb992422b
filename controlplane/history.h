/* What passed through the data planes, for plots: the last hour in fine steps, older times in
 * coarser ones, in memory of a fixed size (history.def). Thread-safe; never does I/O.
 * history_keeper keeps a copy on disk. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "common/json.h"
#include "controlplane/traffic.h"

enum history_level_count {
    HISTORY_LEVELS = 0
#define HISTORY_LEVEL(step, points) +1
#define HISTORY_RATE(name, total)
#define HISTORY_PERCENTILE(name, side, permille)
#include "controlplane/history.def"
#undef HISTORY_LEVEL
#undef HISTORY_RATE
#undef HISTORY_PERCENTILE
};

/* One step of one level. */
struct history_point {
    unsigned step_s;
    int64_t begin_s;  /* wall clock, a multiple of step_s */
    uint32_t seconds; /* of them somebody told something */
    struct traffic traffic;
};

struct history;

struct history *history_new(void);
void history_free(struct history *history); /* NULL is allowed */
/* What happened up to now_s, a second of the wall clock, since the reading before. */
void history_add(struct history *history, int64_t now_s, const struct traffic *traffic);

/* The points that changed since they were taken last, as copies; those that are not over yet come
 * again. Returns how many. */
size_t history_take(struct history *history, struct history_point *points, size_t max);
/* Points that could not be kept are to be taken again, unless they have changed anyway. */
void history_give_back(struct history *history, const struct history_point *points, size_t count);
void history_give_back_all(struct history *history);
/* A point as it was kept. false: it makes no sense. */
MUST_CHECK bool history_put(struct history *history, const struct history_point *point);
/* Calls visit with each point of the finest level that began at since_s or later, oldest first. */
void history_visit(struct history *history, int64_t since_s, int64_t now_s,
                   void (*visit)(void *context, const struct history_point *point), void *context);

/* The step of a level, and how far back it reaches. */
unsigned history_step(size_t level);
int64_t history_span(size_t level);
/* The finest level that reaches back so far; else the last. */
size_t history_level_for(int64_t from_s, int64_t now_s);
/* {"step_s", "from" (ms), "series": {name: [number or null, …]}}: from the step from_s is in (or as
 * far back as the level goes) to the last that is over. */
void history_write(struct history *history, size_t level, int64_t from_s, int64_t now_s,
                   struct json_writer *writer);
