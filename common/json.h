/* JSON (RFC 8259): a strict reader that returns a read-only tree, and a writer that cannot produce
 * bad JSON.
 *
 * The reader is stricter than the RFC where leniency hurts: duplicate member names, byte order
 * marks, invalid UTF-8 and unpaired surrogates are refused. Numbers keep their text; the accessors
 * convert, and say no when the value does not fit. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "common/dynbuf.h"

#define JSON_DEPTH_MAX      16
#define JSON_VALUES_DEFAULT 1024

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_document;
struct json_value;

struct json_error {
    size_t offset;  /* of the byte that was not expected */
    char text[112]; /* one line that says what is wrong; never quotes the input */
    bool is_json;   /* the grammar holds: it is JSON, but a member name is in an object twice */
};

/* Reads exactly one JSON value out of length bytes. maximum_values bounds memory: member names
 * count too. NULL: *error is filled (too many values and lack of memory included). The document
 * owns a copy of the text; free it with json_free. */
MUST_CHECK struct json_document *json_parse(const char *text, size_t length, size_t maximum_values,
                                            struct json_error *error);
void json_free(struct json_document *document); /* NULL is allowed */

/* Everything below borrows from the document. A NULL value is answered as "not that" everywhere. */
const struct json_value *json_root(const struct json_document *document);
enum json_type json_type(const struct json_value *value);
const char *json_type_name(enum json_type type);

/* First child (element, or member value) and the one after; NULL when there is none. */
const struct json_value *json_first(const struct json_value *container);
const struct json_value *json_next(const struct json_value *value);
/* Name of a member value: NUL-terminated for convenience, but may hold NULs of its own. NULL when
 * value is no member. */
const char *json_name(const struct json_value *value, size_t *length);
/* Value of the member called name; NULL when object is no object or has none. */
const struct json_value *json_member(const struct json_value *object, const char *name);

/* Decoded text of a string (NUL-terminated; length counts inner NULs), or the literal text of a
 * number. NULL for others. */
const char *json_text(const struct json_value *value, size_t *length);
MUST_CHECK bool json_bool(const struct json_value *value, bool *result);
/* Integers only ("1.0" and "1e3" are refused), in range. */
MUST_CHECK bool json_u64(const struct json_value *value, uint64_t *result);
MUST_CHECK bool json_i64(const struct json_value *value, int64_t *result);
/* Finite only. */
MUST_CHECK bool json_double(const struct json_value *value, double *result);

/* ---- writer ---- */

/* Appends to a dynbuf, sets commas by itself; CHECKs that calls are balanced. Test out->failed at
 * the end. */

struct json_writer {
    struct dynbuf *out;
    unsigned depth;
    uint32_t has_items; /* one bit a level */
    bool after_name;
};

void json_writer_init(struct json_writer *writer, struct dynbuf *out);
void json_begin_object(struct json_writer *writer);
void json_end_object(struct json_writer *writer);
void json_begin_array(struct json_writer *writer);
void json_end_array(struct json_writer *writer);
void json_write_name(struct json_writer *writer, const char *name);
void json_write_null(struct json_writer *writer);
void json_write_bool(struct json_writer *writer, bool value);
void json_write_u64(struct json_writer *writer, uint64_t value);
void json_write_i64(struct json_writer *writer, int64_t value);
/* Bytes that are not UTF-8 become U+FFFD. */
void json_write_text(struct json_writer *writer, const char *text, size_t length);
void json_write_string(struct json_writer *writer, const char *text);
/* Appends text that is already one valid JSON value. */
void json_write_raw(struct json_writer *writer, const char *text);

/* Name and value in one call. */
void json_put_bool(struct json_writer *writer, const char *name, bool value);
void json_put_u64(struct json_writer *writer, const char *name, uint64_t value);
void json_put_i64(struct json_writer *writer, const char *name, int64_t value);
void json_put_string(struct json_writer *writer, const char *name, const char *text);
