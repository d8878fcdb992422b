/* Bounded reading of CQL notations ([short], [string], [bytes], …: native protocol v4, section 3)
 * from bytes that may lie.
 *
 * A cursor walks a borrowed byte range. A read past the end sets failed and yields zeros; every
 * later read then yields zeros too, so a decoder reads a whole structure and tests failed once at
 * the end. Nothing is copied or allocated. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct cql_cursor {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

/* A borrowed run of bytes; data is NULL for a CQL null. */
struct cql_span {
    const uint8_t *data;
    size_t length;
};

static inline struct cql_cursor cql_cursor_over(const void *data, size_t length)
{
    const uint8_t *at = data;
    /* Nothing at all may be NULL, from which C does not even let 0 be counted. */
    return (struct cql_cursor){.at = at, .end = length == 0 ? at : at + length, .failed = false};
}

static inline size_t cql_cursor_left(const struct cql_cursor *cursor)
{
    return (size_t)(cursor->end - cursor->at);
}

static inline const uint8_t *cql_cursor_take(struct cql_cursor *cursor, size_t length)
{
    if (cursor->failed || cql_cursor_left(cursor) < length) {
        cursor->failed = true;
        return NULL;
    }
    const uint8_t *taken = cursor->at;
    if (length > 0)
        cursor->at += length;
    return taken;
}

static inline uint16_t cql_load_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t cql_load_u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline void cql_store_u16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline void cql_store_u32(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
}

static inline uint8_t cql_read_u8(struct cql_cursor *cursor)
{
    const uint8_t *at = cql_cursor_take(cursor, 1);
    return at == NULL ? 0 : at[0];
}

/* [short] */
static inline uint16_t cql_read_u16(struct cql_cursor *cursor)
{
    const uint8_t *at = cql_cursor_take(cursor, 2);
    return at == NULL ? 0 : cql_load_u16(at);
}

/* [int] */
static inline int32_t cql_read_i32(struct cql_cursor *cursor)
{
    const uint8_t *at = cql_cursor_take(cursor, 4);
    return at == NULL ? 0 : (int32_t)cql_load_u32(at);
}

/* [string] and [short bytes]: a [short] length, then the bytes. */
static inline struct cql_span cql_read_string(struct cql_cursor *cursor)
{
    size_t length = cql_read_u16(cursor);
    const uint8_t *data = cql_cursor_take(cursor, length);
    return (struct cql_span){data, data == NULL ? 0 : length};
}

/* [long string]: an [int] length that must not be negative. */
static inline struct cql_span cql_read_long_string(struct cql_cursor *cursor)
{
    int32_t length = cql_read_i32(cursor);
    if (length < 0)
        cursor->failed = true;
    const uint8_t *data = cql_cursor_take(cursor, length < 0 ? 0 : (size_t)length);
    return (struct cql_span){data, data == NULL ? 0 : (size_t)length};
}

/* [bytes] and [value]: a negative [int] length is null (or "not set") and yields data == NULL
 * without failing. */
static inline struct cql_span cql_read_bytes(struct cql_cursor *cursor)
{
    int32_t length = cql_read_i32(cursor);
    if (cursor->failed || length < 0)
        return (struct cql_span){NULL, 0};
    const uint8_t *data = cql_cursor_take(cursor, (size_t)length);
    return (struct cql_span){data, data == NULL ? 0 : (size_t)length};
}

static inline bool cql_span_equals(struct cql_span span, const char *text)
{
    size_t length = strlen(text);
    return span.length == length && (length == 0 || memcmp(span.data, text, length) == 0);
}
