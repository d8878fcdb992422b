/* The event bus: a ring of the newest events behind one mutex. Writers never wait for readers: a
 * reader that falls behind the ring is told so and starts over. Any thread. */
#include "controlplane/events.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"

#define RING_SIZE 512
#define EVENT_MAX (64u * 1024u) /* with RING_SIZE: what all of them may hold */

struct event_entry {
    char *text; /* ready for the stream; NULL: it was too long to keep for all readers */
};

struct events {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t
        newest; /* number of the last event, 0: none yet; event n lives in ring[n % RING_SIZE] */
    bool closed;
    struct event_entry ring[RING_SIZE];
};

struct events *events_new(void)
{
    struct events *events = calloc(1, sizeof *events);
    pthread_condattr_t attributes;
    CHECK(events != NULL);
    pthread_mutex_init(&events->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&events->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return events;
}

void events_free(struct events *events)
{
    if (events == NULL)
        return;
    for (size_t i = 0; i < RING_SIZE; i++)
        free(events->ring[i].text);
    pthread_cond_destroy(&events->changed);
    pthread_mutex_destroy(&events->mutex);
    free(events);
}

void events_close(struct events *events)
{
    pthread_mutex_lock(&events->mutex);
    events->closed = true;
    pthread_cond_broadcast(&events->changed);
    pthread_mutex_unlock(&events->mutex);
}

void events_publish(struct events *events, const char *name, const char *json)
{
    pthread_mutex_lock(&events->mutex);
    uint64_t number = events->newest + 1;
    struct dynbuf text;
    dynbuf_init(&text, EVENT_MAX);
    struct event_entry *entry = &events->ring[number % RING_SIZE];
    free(entry->text);
    entry->text = NULL;
    if (dynbuf_printf(&text, "id: %llu\nevent: %s\ndata: %s\n\n", (unsigned long long)number, name,
                      json))
        entry->text = (char *)text.data; /* the ring owns it now */
    else
        dynbuf_fini(&text); /* readers start over, with the whole state */
    events->newest = number;
    pthread_cond_broadcast(&events->changed);
    pthread_mutex_unlock(&events->mutex);
}

uint64_t events_newest(struct events *events)
{
    pthread_mutex_lock(&events->mutex);
    uint64_t newest = events->newest;
    pthread_mutex_unlock(&events->mutex);
    return newest;
}

enum events_verdict events_read(struct events *events, uint64_t *cursor, unsigned wait_ms,
                                struct dynbuf *out)
{
    uint64_t end_ns = clock_now_ns() + wait_ms * NS_PER_MS;
    struct timespec end = {.tv_sec = (time_t)(end_ns / NS_PER_S),
                           .tv_nsec = (long)(end_ns % NS_PER_S)};
    enum events_verdict verdict = EVENTS_NONE;
    pthread_mutex_lock(&events->mutex);
    while (!events->closed && events->newest == *cursor)
        if (pthread_cond_timedwait(&events->changed, &events->mutex, &end) == ETIMEDOUT)
            break;
    if (events->closed) {
        verdict = EVENTS_ENDED;
    } else if (events->newest - *cursor > RING_SIZE) {
        *cursor = events->newest;
        verdict = EVENTS_LOST;
    } else {
        while (*cursor < events->newest) {
            const char *text = events->ring[(*cursor + 1) % RING_SIZE].text;
            if (text == NULL) {
                dynbuf_reset(out);
                *cursor = events->newest;
                verdict = EVENTS_LOST;
                break;
            }
            if (!dynbuf_append_text(out, text)) {
                out->failed = false; /* the rest comes with the next call */
                break;
            }
            ++*cursor;
            verdict = EVENTS_SOME;
        }
    }
    pthread_mutex_unlock(&events->mutex);
    return verdict;
}
