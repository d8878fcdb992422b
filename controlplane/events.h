/* The event bus of the dashboard: a bounded ring of rendered events, read by any number of streams
 * at their own pace. Thread-safe. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "common/dynbuf.h"

struct events;

enum events_verdict {
    EVENTS_SOME, /* at least one event was appended */
    EVENTS_NONE, /* nothing happened until the deadline */
    EVENTS_LOST, /* the reader was too slow, or an event too long to keep: *cursor is now the newest
                    event; send the full state again */
    EVENTS_ENDED, /* the bus was closed */
};

struct events *events_new(void);
void events_free(struct events *events); /* NULL is allowed; no reader may be left */
/* Wakes all readers for good. */
void events_close(struct events *events);

/* name: a word; json: one line. Takes copies. */
void events_publish(struct events *events, const char *name, const char *json);
/* The number of the newest event; where a new reader begins. */
uint64_t events_newest(struct events *events);
/* Appends the events after *cursor to out in text/event-stream form and moves *cursor; waits up to
 * wait_ms for the first. */
enum events_verdict events_read(struct events *events, uint64_t *cursor, unsigned wait_ms,
                                struct dynbuf *out);
