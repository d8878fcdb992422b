/* A length-tagged piece of memory owned by someone else: how CQL values travel through the
 * simulator. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    BYTES_NULL = -1,  /* the CQL null */
    BYTES_UNSET = -2, /* protocol v4 "not set" */
};

struct bytes {
    const uint8_t *data;
    int32_t length; /* >= 0, BYTES_NULL or BYTES_UNSET */
};

static inline struct bytes bytes_null(void)
{
    return (struct bytes){NULL, BYTES_NULL};
}

static inline struct bytes bytes_of(const void *data, size_t length)
{
    return (struct bytes){data, (int32_t)length};
}

static inline struct bytes bytes_text(const char *text)
{
    return text == NULL ? bytes_null() : bytes_of(text, strlen(text));
}

/* Byte order, shorter first when one is a prefix of the other; null counts as empty. */
static inline int bytes_compare(struct bytes a, struct bytes b)
{
    size_t a_length = a.length > 0 ? (size_t)a.length : 0;
    size_t b_length = b.length > 0 ? (size_t)b.length : 0;
    size_t shorter = a_length < b_length ? a_length : b_length;
    int order = shorter == 0 ? 0 : memcmp(a.data, b.data, shorter);
    if (order != 0)
        return order;
    return a_length == b_length ? 0 : a_length < b_length ? -1 : 1;
}

static inline bool bytes_equal(struct bytes bytes, const char *text)
{
    return bytes_compare(bytes, bytes_text(text)) == 0;
}
