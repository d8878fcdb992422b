/* Input in heap blocks of exactly its size, so that the address sanitizer sees every read past its
 * end. Include after cmocka.h. */
#pragma once

#include <stdlib.h>
#include <string.h>

/* The caller frees it. */
static inline void *exact_copy(const void *data, size_t length)
{
    void *copy = malloc(length == 0 ? 1 : length);
    assert_non_null(copy);
    if (length > 0)
        memcpy(copy, data, length);
    return copy;
}
