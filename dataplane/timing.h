/* When a worker must act without being asked. It has one alarm, set for the soonest moment at which
 * anything can be due and for no other: a worker on which nothing is due sleeps for as long as
 * nothing happens.
 *
 *   what is due            how exactly          how it is known
 *   a request's time limit to the millisecond   worker->deadlines, oldest first
 *   a step of a handshake  to TIMING_WATCH_NS   worker->watched, looked through when one is due
 *   the survey             to TIMING_SURVEY_NS  each session says when it needs the next one
 *   the listener's return, the end of draining  one moment each
 *   a new routing state    one moment, unless every upstream it waits for is open sooner
 *   writes of before       looked for each TIMING_SETTLE_NS while somebody waits for their end
 *
 * Nothing is set anew for a request: an alarm that rings too early finds nothing due and is set
 * again. Heartbeats of idle connections gather by themselves, see upstream_survey. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/check.h"
#include "common/clock.h"

struct event;
struct worker;

#define TIMING_NEVER UINT64_MAX

/* Deadlines of handshakes are rounded up to this, so that thousands of them cost few wake-ups. */
#define TIMING_WATCH_NS (20 * NS_PER_MS)

/* From the beginning of one survey to the next at least. */
#define TIMING_SURVEY_NS NS_PER_S

/* While a wait for writes is under way (settle.h). */
#define TIMING_SETTLE_NS (2 * NS_PER_MS)

/* Moments, in ns of the worker's clock; TIMING_NEVER: there is none. */
struct timing {
    struct event *alarm;
    uint64_t alarm_ns;    /* it is set for then */
    uint64_t watch_ns;    /* no watched upstream is due before */
    uint64_t survey_ns;   /* no session needs a survey before */
    uint64_t surveyed_ns; /* the last survey began */
    uint64_t accept_ns;   /* the listener rests until then */
    uint32_t survey_round;
    bool is_surveying; /* a survey is under way, part by part */
};

MUST_CHECK bool timing_init(struct worker *worker);
void timing_fini(struct worker *worker);

/* Before the worker waits for events: sets the alarm. */
void timing_set_alarm(struct worker *worker);
/* Once a turn: does what is due. */
void timing_run(struct worker *worker);

/* An upstream is watched from now on, with that deadline. */
static inline void timing_watch_by(struct timing *timing, uint64_t deadline_ns)
{
    uint64_t rounded = (deadline_ns + TIMING_WATCH_NS - 1) / TIMING_WATCH_NS * TIMING_WATCH_NS;
    if (rounded < timing->watch_ns)
        timing->watch_ns = rounded;
}

/* A session needs to be surveyed by then. */
static inline void timing_survey_by(struct timing *timing, uint64_t due_ns)
{
    if (due_ns < timing->survey_ns)
        timing->survey_ns = due_ns;
}

/* When to look again at what was due at that moment: then, or after a step if it has passed. */
static inline uint64_t timing_next(uint64_t due_ns, uint64_t now_ns, uint64_t step_ns)
{
    return due_ns > now_ns ? due_ns : now_ns + step_ns;
}

static inline uint64_t timing_sooner(uint64_t one_ns, uint64_t other_ns)
{
    return one_ns < other_ns ? one_ns : other_ns;
}
