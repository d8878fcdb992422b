/* Memory that lives exactly as long as one request, one prepared statement or one table definition.
 */
#pragma once

#include <stddef.h>

#include "bytes.h"

struct arena_block;

struct arena {
    struct arena_block *newest;
};

void arena_init(struct arena *arena);
void arena_fini(struct arena *arena);
/* Gives back everything but one ordinary block. */
void arena_reset(struct arena *arena);

/* Zeroed, aligned for any type. Running out of memory ends the program: sizes are bounded by frames
 * received. */
void *arena_alloc(struct arena *arena, size_t size);
/* A copy followed by a NUL. */
char *arena_copy(struct arena *arena, const void *data, size_t length);
char *arena_text(struct arena *arena, const char *text);
/* Null and unset stay what they are. */
struct bytes arena_bytes(struct arena *arena, struct bytes value);
char *arena_printf(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Grows an array kept in the arena by one zeroed element and returns it: *items holds *count
 * elements of size. */
void *arena_push(struct arena *arena, void **items, size_t *count, size_t size);
