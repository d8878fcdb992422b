/* Rings of points, one a level, behind one mutex. Every level counts for itself, so that a coarse
 * point is exact, too, and what a restart finds on disk is simply counted on. Any thread; must
 * never do I/O. */
#include "controlplane/history.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* The rows of one kind each. */
#define NOTHING(...)

static const struct {
    unsigned step_s;
    unsigned points;
} levels[HISTORY_LEVELS] = {
#define HISTORY_LEVEL(step, points) {step, points},
#define HISTORY_RATE                NOTHING
#define HISTORY_PERCENTILE          NOTHING
#include "controlplane/history.def"
#undef HISTORY_LEVEL
#undef HISTORY_RATE
#undef HISTORY_PERCENTILE
};

static const struct {
    const char *name;
    enum traffic_count total;
} rates[] = {
#define HISTORY_LEVEL             NOTHING
#define HISTORY_RATE(name, total) {name, TRAFFIC_##total},
#define HISTORY_PERCENTILE        NOTHING
#include "controlplane/history.def"
#undef HISTORY_LEVEL
#undef HISTORY_RATE
#undef HISTORY_PERCENTILE
};

static const struct {
    const char *name;
    enum traffic_side side;
    unsigned permille;
} percentiles[] = {
#define HISTORY_LEVEL                            NOTHING
#define HISTORY_RATE                             NOTHING
#define HISTORY_PERCENTILE(name, side, permille) {name, TRAFFIC_##side, permille},
#include "controlplane/history.def"
#undef HISTORY_LEVEL
#undef HISTORY_RATE
#undef HISTORY_PERCENTILE
};

struct slot {
    int64_t last_s; /* when somebody told something last */
    bool is_changed;
    struct history_point point; /* step_s 0: never used */
};

struct history {
    pthread_mutex_t mutex;
    struct slot *rings[HISTORY_LEVELS];
};

struct history *history_new(void)
{
    struct history *history = calloc(1, sizeof *history);
    CHECK(history != NULL);
    pthread_mutex_init(&history->mutex, NULL);
    for (size_t level = 0; level < HISTORY_LEVELS; level++) {
        history->rings[level] = calloc(levels[level].points, sizeof(struct slot));
        CHECK(history->rings[level] != NULL);
    }
    return history;
}

void history_free(struct history *history)
{
    if (history == NULL)
        return;
    for (size_t level = 0; level < HISTORY_LEVELS; level++)
        free(history->rings[level]);
    pthread_mutex_destroy(&history->mutex);
    free(history);
}

static struct slot *slot_of(struct history *history, size_t level, int64_t begin_s)
{
    return &history->rings[level][begin_s / levels[level].step_s % levels[level].points];
}

static int64_t step_begin(size_t level, int64_t second)
{
    return second - second % levels[level].step_s;
}

/* ---- counting ---- */

void history_add(struct history *history, int64_t now_s, const struct traffic *traffic)
{
    if (now_s < 0)
        return;
    pthread_mutex_lock(&history->mutex);
    for (size_t level = 0; level < HISTORY_LEVELS; level++) {
        int64_t begin_s = step_begin(level, now_s);
        struct slot *slot = slot_of(history, level, begin_s);
        if (slot->point.step_s == 0 || slot->point.begin_s != begin_s)
            *slot = (struct slot){
                .last_s = -1,
                .point = {.step_s = levels[level].step_s, .begin_s = begin_s},
            };
        if (slot->last_s != now_s && slot->point.seconds < levels[level].step_s)
            slot->point.seconds++;
        slot->last_s = now_s;
        slot->is_changed = true;
        traffic_add(&slot->point.traffic, traffic);
    }
    pthread_mutex_unlock(&history->mutex);
}

/* ---- keeping ---- */

size_t history_take(struct history *history, struct history_point *points, size_t max)
{
    size_t count = 0;
    pthread_mutex_lock(&history->mutex);
    for (size_t level = 0; level < HISTORY_LEVELS; level++) {
        for (size_t i = 0; i < levels[level].points && count < max; i++) {
            struct slot *slot = &history->rings[level][i];
            if (!slot->is_changed)
                continue;
            slot->is_changed = false;
            points[count++] = slot->point;
        }
    }
    pthread_mutex_unlock(&history->mutex);
    return count;
}

static bool find_level(unsigned step_s, size_t *level)
{
    for (*level = 0; *level < HISTORY_LEVELS; ++*level)
        if (levels[*level].step_s == step_s)
            return true;
    return false;
}

void history_give_back(struct history *history, const struct history_point *points, size_t count)
{
    size_t level;
    pthread_mutex_lock(&history->mutex);
    for (size_t i = 0; i < count; i++) {
        if (!find_level(points[i].step_s, &level))
            continue;
        struct slot *slot = slot_of(history, level, points[i].begin_s);
        slot->is_changed = slot->is_changed || slot->point.begin_s == points[i].begin_s;
    }
    pthread_mutex_unlock(&history->mutex);
}

void history_give_back_all(struct history *history)
{
    pthread_mutex_lock(&history->mutex);
    for (size_t level = 0; level < HISTORY_LEVELS; level++)
        for (size_t i = 0; i < levels[level].points; i++)
            history->rings[level][i].is_changed = history->rings[level][i].point.step_s != 0;
    pthread_mutex_unlock(&history->mutex);
}

bool history_put(struct history *history, const struct history_point *point)
{
    size_t level;
    if (!find_level(point->step_s, &level) || point->begin_s < 0 ||
        point->begin_s % point->step_s != 0 || point->seconds > point->step_s)
        return false;
    pthread_mutex_lock(&history->mutex);
    *slot_of(history, level, point->begin_s) = (struct slot){.last_s = -1, .point = *point};
    pthread_mutex_unlock(&history->mutex);
    return true;
}

void history_visit(struct history *history, int64_t since_s, int64_t now_s,
                   void (*visit)(void *context, const struct history_point *point), void *context)
{
    int64_t oldest_s = step_begin(0, now_s) - history_span(0) + levels[0].step_s;
    int64_t begin_s = step_begin(0, since_s > oldest_s ? since_s : oldest_s);
    pthread_mutex_lock(&history->mutex);
    for (; begin_s <= now_s; begin_s += levels[0].step_s) {
        const struct slot *slot = begin_s < 0 ? NULL : slot_of(history, 0, begin_s);
        if (slot != NULL && slot->point.step_s != 0 && slot->point.begin_s == begin_s)
            visit(context, &slot->point);
    }
    pthread_mutex_unlock(&history->mutex);
}

/* ---- telling ---- */

unsigned history_step(size_t level)
{
    return levels[level].step_s;
}

int64_t history_span(size_t level)
{
    return (int64_t)levels[level].step_s * levels[level].points;
}

size_t history_level_for(int64_t from_s, int64_t now_s)
{
    for (size_t level = 0; level + 1 < HISTORY_LEVELS; level++)
        if (from_s >= now_s - history_span(level))
            return level;
    return HISTORY_LEVELS - 1;
}

#define SERIES (ARRAY_COUNT(rates) + ARRAY_COUNT(percentiles))

/* Older data planes do not tell of each cluster: then nothing is known of those. */
static double rate_of(const struct history_point *point, size_t row)
{
    enum traffic_count total = rates[row].total;
    if (point->seconds == 0 || (traffic_is_detail(total) && !point->traffic.has_detail))
        return NAN;
    return (double)point->traffic.counts[total] / point->seconds;
}

static double percentile_of(const struct history_point *point, size_t row)
{
    const struct latency *latency = &point->traffic.latencies[percentiles[row].side];
    uint64_t us;
    return latency_percentile(latency, percentiles[row].permille, &us) ? (double)us / 1000 : NAN;
}

/* The mutex is held a step long only: who counts must not wait for who looks. */
static void read_step(struct history *history, size_t level, int64_t begin_s, double *values)
{
    pthread_mutex_lock(&history->mutex);
    const struct slot *slot = slot_of(history, level, begin_s);
    bool is_known = slot->point.step_s != 0 && slot->point.begin_s == begin_s;
    for (size_t row = 0; row < ARRAY_COUNT(rates); row++)
        values[row] = is_known ? rate_of(&slot->point, row) : NAN;
    for (size_t row = 0; row < ARRAY_COUNT(percentiles); row++)
        values[ARRAY_COUNT(rates) + row] = is_known ? percentile_of(&slot->point, row) : NAN;
    pthread_mutex_unlock(&history->mutex);
}

static void write_series(const char *name, const double *values, size_t steps,
                         struct json_writer *writer)
{
    char text[400];
    json_write_name(writer, name);
    json_begin_array(writer);
    for (size_t i = 0; i < steps; i++) {
        snprintf(text, sizeof text, "%.2f", values[i * SERIES]);
        if (isnan(values[i * SERIES]))
            json_write_null(writer);
        else
            json_write_raw(writer, text);
    }
    json_end_array(writer);
}

void history_write(struct history *history, size_t level, int64_t from_s, int64_t now_s,
                   struct json_writer *writer)
{
    int64_t step_s = levels[level].step_s;
    int64_t end_s = step_begin(level, now_s); /* of the last step that is over */
    int64_t oldest_s = end_s - history_span(level) + step_s;
    int64_t begin_s = step_begin(level, from_s > oldest_s ? from_s : oldest_s);
    if (begin_s < 0)
        begin_s = 0;
    if (begin_s > end_s)
        begin_s = end_s;
    size_t steps = (size_t)((end_s - begin_s) / step_s);
    double *values = calloc(steps + 1, SERIES * sizeof *values);
    CHECK(values != NULL);
    for (size_t i = 0; i < steps; i++)
        read_step(history, level, begin_s + (int64_t)i * step_s, &values[i * SERIES]);
    json_begin_object(writer);
    json_put_i64(writer, "step_s", step_s);
    json_put_i64(writer, "from", begin_s * 1000);
    json_write_name(writer, "series");
    json_begin_object(writer);
    for (size_t row = 0; row < ARRAY_COUNT(rates); row++)
        write_series(rates[row].name, &values[row], steps, writer);
    for (size_t row = 0; row < ARRAY_COUNT(percentiles); row++)
        write_series(percentiles[row].name, &values[ARRAY_COUNT(rates) + row], steps, writer);
    json_end_object(writer);
    json_end_object(writer);
    free(values);
}
