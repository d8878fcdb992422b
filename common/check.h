/* What we believe, and results that must not be ignored.
 *
 * CHECK is always on: a broken belief is our bug, and a loud stop is better than a wrong answer. It
 * is never used on anything a peer sends. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_at, first_argument)                                                     \
    __attribute__((format(printf, format_at, first_argument)))
#define LIKELY(condition)   __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* A function off the usual way: kept apart, so that its callers stay small. */
#define COLD __attribute__((cold, noinline))
/* One that runs often, but would make its only caller save registers for it each time. */
#define APART __attribute__((noinline))

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (UNLIKELY(!(condition))) {                                                              \
            fprintf(stderr, "level=fatal event=check_failed file=%s line=%d check=\"%s\"\n",       \
                    __FILE__, __LINE__, #condition);                                               \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The struct that holds member at pointer. */
#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))
