/* The gates' verdicts and the sentences that explain them. Pure; any thread; must never do I/O. */
#include "controlplane/gate.h"

#include <stdio.h>
#include <string.h>

#include "common/check.h"

static const struct {
    const char *name;
    const char *meaning;
} rows[GATE_COUNT] = {
#define GATE(symbol, name, meaning) {name, meaning},
#include "controlplane/gates.def"
#undef GATE
};

const char *gate_name(enum gate gate)
{
    return rows[gate].name;
}

const char *gate_meaning(enum gate gate)
{
    return rows[gate].meaning;
}

#define FIGURE(check, ...) snprintf((check)->figure, sizeof(check)->figure, __VA_ARGS__)
#define LIMIT(check, ...)  snprintf((check)->limit, sizeof(check)->limit, __VA_ARGS__)
#define DETAIL(check, ...) snprintf((check)->detail, sizeof(check)->detail, __VA_ARGS__)

static enum gate_verdict verdict_of(bool holds)
{
    return holds ? GATE_HOLDS : GATE_FAILS;
}

static void set_unknown(struct gate_check *check, const char *why)
{
    check->verdict = GATE_UNKNOWN;
    FIGURE(check, "unknown");
    DETAIL(check, "%s", why);
}

static void check_dataplanes(const struct gate_figures *figures, struct gate_check *check)
{
    check->verdict = verdict_of(figures->connected > 0);
    FIGURE(check, "%u", figures->connected);
    LIMIT(check, "at least 1");
    if (figures->connected > 0)
        DETAIL(check, "%u data plane%s connected", figures->connected,
               figures->connected == 1 ? " is" : "s are");
    else
        DETAIL(check, "no data plane is connected: nobody would follow the change");
}

static void check_converged(const struct gate_figures *figures, struct gate_check *check)
{
    unsigned known = figures->connected + figures->disconnected;
    check->verdict = verdict_of(figures->in_sync == known);
    FIGURE(check, "%u of %u", figures->in_sync, known);
    LIMIT(check, "all");
    if (figures->in_sync == known)
        DETAIL(check, "every known data plane follows the present revision");
    else if (figures->disconnected > 0)
        DETAIL(check,
               "%u of %u known data planes are not connected (%s): they go on as they were, so a "
               "step further would set them apart",
               figures->disconnected, known, figures->straggler);
    else
        DETAIL(check, "%u of %u data planes do not follow the present revision yet (%s)",
               known - figures->in_sync, known, figures->straggler);
}

static void check_health(const struct gate_figures *figures, const struct gate_health *health,
                         const char *cluster, struct gate_check *check)
{
    LIMIT(check, "all");
    if (!health->is_known || figures->connected == 0) {
        char why[sizeof check->detail];
        snprintf(why, sizeof why, "no data plane has told whether it reaches the %s", cluster);
        set_unknown(check, why);
        return;
    }
    check->verdict = verdict_of(health->healthy >= figures->connected);
    FIGURE(check, "%u of %u", health->healthy, figures->connected);
    if (check->verdict == GATE_HOLDS)
        DETAIL(check, "every data plane reaches the %s", cluster);
    else
        DETAIL(check, "%u of %u data planes do not reach the %s",
               figures->connected - health->healthy, figures->connected, cluster);
}

static void check_share(const struct gate_share *share, const char *what, double limit_percent,
                        struct gate_check *check)
{
    char why[sizeof check->detail];
    LIMIT(check, "at most %g %%", limit_percent);
    if (!share->is_known) {
        snprintf(why, sizeof why, "no data plane has told how many %s failed lately", what);
        set_unknown(check, why);
        return;
    }
    if (share->total == 0) {
        check->verdict = GATE_HOLDS;
        FIGURE(check, "none");
        DETAIL(check, "there were no %s over the last %d minutes, so none failed", what,
               GATE_WINDOW_S / 60);
        return;
    }
    double percent = 100.0 * (double)share->failed / (double)share->total;
    check->verdict = verdict_of(percent <= limit_percent);
    FIGURE(check, "%.3g %%", percent);
    DETAIL(check, "%llu of %llu %s failed over the last %d minutes",
           (unsigned long long)share->failed, (unsigned long long)share->total, what,
           GATE_WINDOW_S / 60);
}

static void check_latency(const struct gate_figures *figures, const struct gate_limits *limits,
                          struct gate_check *check)
{
    uint64_t allowed_us = figures->origin_p99_us * limits->latency_percent / 100;
    uint64_t absolute_us = figures->origin_p99_us + (uint64_t)limits->latency_ms * 1000;
    if (absolute_us > allowed_us)
        allowed_us = absolute_us;
    LIMIT(check, "%u %% of the origin's, or %u ms more", limits->latency_percent,
          limits->latency_ms);
    if (!figures->are_latencies_known) {
        set_unknown(check, "no data plane has told how quickly both clusters answered lately");
        return;
    }
    check->verdict = verdict_of(figures->target_p99_us <= allowed_us);
    FIGURE(check, "%.3g ms", (double)figures->target_p99_us / 1000);
    DETAIL(check,
           "over the last %d minutes 99 of 100 answers of the target came within %.3g ms, of the "
           "origin within %.3g ms; up to %.3g ms are accepted",
           GATE_WINDOW_S / 60, (double)figures->target_p99_us / 1000,
           (double)figures->origin_p99_us / 1000, (double)allowed_us / 1000);
}

static void check_failed_writes(const struct gate_figures *figures,
                                const struct gate_limits *limits, struct gate_check *check)
{
    LIMIT(check, "none for %u min", limits->quiet_minutes);
    if (!figures->are_failed_writes_known) {
        set_unknown(check, "no data plane has told how many writes failed lately");
        return;
    }
    check->verdict = verdict_of(figures->failed_writes == 0);
    FIGURE(check, "%llu", (unsigned long long)figures->failed_writes);
    if (figures->failed_writes == 0)
        DETAIL(check, "no write has failed for %u s", figures->failed_writes_s);
    else
        DETAIL(check,
               "%llu writes failed over the last %u s: the clusters may differ by them; see which, "
               "and wait until %u minutes have passed without one",
               (unsigned long long)figures->failed_writes, figures->failed_writes_s,
               limits->quiet_minutes);
}

static void check_shadow(const struct gate_figures *figures, const struct gate_limits *limits,
                         struct gate_check *check)
{
    check_share(&figures->shadow, "shadow reads", limits->error_percent, check);
    if (!figures->is_shadow_in_use) {
        check->verdict = GATE_HOLDS;
        FIGURE(check, "off");
        DETAIL(check, "shadow reads are not in use, so there is nothing to learn from them");
    }
}

void gate_check(enum gate gate, const struct gate_figures *figures,
                const struct gate_limits *limits, struct gate_check *check)
{
    *check = (struct gate_check){.gate = gate};
    switch (gate) {
    case GATE_DATAPLANES:
        check_dataplanes(figures, check);
        break;
    case GATE_CONVERGED:
        check_converged(figures, check);
        break;
    case GATE_ORIGIN_HEALTH:
        check_health(figures, &figures->origin_health, "origin", check);
        break;
    case GATE_TARGET_HEALTH:
        check_health(figures, &figures->target_health, "target", check);
        break;
    case GATE_FAILED_READS:
        check_share(&figures->reads, "reads of clients", limits->error_percent, check);
        break;
    case GATE_ORIGIN_ERRORS:
        check_share(&figures->origin, "requests to the origin", limits->error_percent, check);
        break;
    case GATE_TARGET_ERRORS:
        check_share(&figures->target, "requests to the target", limits->error_percent, check);
        break;
    case GATE_TARGET_LATENCY:
        check_latency(figures, limits, check);
        break;
    case GATE_FAILED_WRITES:
        check_failed_writes(figures, limits, check);
        break;
    case GATE_SHADOW_READS:
        check_shadow(figures, limits, check);
        break;
    case GATE_COUNT:
        CHECK(gate != GATE_COUNT);
        break;
    }
}

size_t gate_check_all(uint32_t gates, const struct gate_figures *figures,
                      const struct gate_limits *limits, struct gate_check checks[GATE_COUNT],
                      bool *all_hold)
{
    size_t count = 0;
    *all_hold = true;
    for (unsigned gate = 0; gate < GATE_COUNT; gate++) {
        if ((gates >> gate & 1) == 0)
            continue;
        gate_check((enum gate)gate, figures, limits, &checks[count]);
        *all_hold = *all_hold && checks[count].verdict == GATE_HOLDS;
        count++;
    }
    return count;
}

void gate_write(const struct gate_check *checks, size_t count, struct json_writer *writer)
{
    json_begin_array(writer);
    for (size_t i = 0; i < count; i++) {
        json_begin_object(writer);
        json_put_string(writer, "name", gate_name(checks[i].gate));
        json_put_string(writer, "meaning", gate_meaning(checks[i].gate));
        json_put_bool(writer, "ok", checks[i].verdict == GATE_HOLDS);
        json_put_bool(writer, "known", checks[i].verdict != GATE_UNKNOWN);
        json_put_string(writer, "figure", checks[i].figure);
        json_put_string(writer, "limit", checks[i].limit);
        json_put_string(writer, "detail", checks[i].detail);
        json_end_object(writer);
    }
    json_end_array(writer);
}
