/* What different threads write lies on different cache lines. */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "common/check.h"

#define CACHE_LINE 64
/* Processors fetch lines in pairs: this is what keeps two writers apart. */
#define CACHE_LINE_PAIR 128

/* Zeroed memory that shares no line with any other; for free(). Ends the process without memory. */
static inline void *cache_line_alloc(size_t bytes)
{
    size_t whole = (bytes + CACHE_LINE_PAIR - 1) / CACHE_LINE_PAIR * CACHE_LINE_PAIR;
    void *memory = aligned_alloc(CACHE_LINE_PAIR, whole);
    CHECK(memory != NULL);
    return memset(memory, 0, whole);
}
