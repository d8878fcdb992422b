/* Texts and numbers of CQL turned into serialized values. */
#pragma once

#include "types.h"

enum literal_kind {
    LITERAL_STRING,
    LITERAL_INTEGER,
    LITERAL_FLOAT,
    LITERAL_BOOLEAN,
    LITERAL_UUID,
    LITERAL_HEX,
};

/* A native type's value from the literal's text (NUL-terminated; without quotes, with 0x), kept in
 * arena. Refuses as Cassandra does: Invalid STRING constant (..) for "column" of type int. */
MUST_CHECK bool literal_to_value(struct arena *arena, enum literal_kind kind, struct bytes text,
                                 const struct cql_type *type, const char *column,
                                 struct bytes *value, struct failure *failure);

/* Decimal text of a varint (two's complement, any length up to the literal limit). */
void literal_print_varint(struct dynbuf *out, struct bytes value);

/* 16 bytes from the usual 36 characters. */
bool literal_parse_uuid(const char *text, uint8_t *uuid);
void literal_print_uuid(char text[37], const uint8_t *uuid);
