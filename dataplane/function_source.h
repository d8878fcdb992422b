/* Where the values of replaced functions come from: the clock, the kernel's randomness, and a UUID
 * generator (RFC 4122). One source a worker; the time of version 1 UUIDs is the process's, so that
 * no two workers ever give the same one. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "dataplane/functions.h"

#define FUNCTION_SOURCE_RANDOM_BYTES 1024

struct function_source {
    uint8_t random[FUNCTION_SOURCE_RANDOM_BYTES]; /* fetched so many at a time */
    size_t random_used;
};

/* Fixes the process's node id and clock sequence; before any worker starts, and only once (later
 * calls do nothing). */
void function_source_seed(void);
void function_source_init(struct function_source *source);

/* As struct function_maker's make; context: the worker's struct function_source. The times are
 * UTC's, as Cassandra's. */
void function_source_make(void *context, enum function_kind kind, struct function_value *value);

/* The time fields and the rest of a version 1 UUID: hundreds of nanoseconds since 1582-10-15, 14
 * bits of clock sequence, node id. Pure. */
void function_source_put_timeuuid(uint8_t out[16], uint64_t time, uint16_t sequence,
                                  const uint8_t node[6]);
