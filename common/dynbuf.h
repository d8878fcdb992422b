/* A growable byte buffer with a declared maximum. Not for the request path (see dataplane/chunk.h
 * for that). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"

struct dynbuf {
    uint8_t
        *data; /* NULL until the first byte; always followed by a NUL that length does not count */
    size_t length;
    size_t capacity;
    size_t maximum;
    bool failed; /* an append did not fit or memory ran out; all later appends are refused */
};

/* maximum: bytes the buffer may ever hold. */
void dynbuf_init(struct dynbuf *buffer, size_t maximum);
void dynbuf_fini(struct dynbuf *buffer);
/* Forgets the content and the failure, keeps the memory. */
void dynbuf_reset(struct dynbuf *buffer);

/* Appends; on overflow or lack of memory sets failed and returns false, content unchanged. Callers
 * that build a text of many pieces may ignore the single results and test failed once at the end.
 */
bool dynbuf_append(struct dynbuf *buffer, const void *bytes, size_t length);
bool dynbuf_append_text(struct dynbuf *buffer, const char *text);
bool dynbuf_printf(struct dynbuf *buffer, const char *format, ...) PRINTF_LIKE(2, 3);
/* Drops the first count bytes (count <= length). */
void dynbuf_consume(struct dynbuf *buffer, size_t count);
/* The content as a C string ("" when empty). */
const char *dynbuf_text(const struct dynbuf *buffer);
