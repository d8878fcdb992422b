/* Reading JSON out of a block of exactly its size. Include after cmocka.h. */
#pragma once

#include "common/json.h"
#include "tests/unit/exact_copy.h"

/* As json_parse, with the usual number of values. */
static inline struct json_document *parse_exactly(const char *text, size_t length,
                                                  struct json_error *error)
{
    char *copy = exact_copy(text, length);
    struct json_document *document = json_parse(copy, length, JSON_VALUES_DEFAULT, error);
    free(copy);
    return document;
}
