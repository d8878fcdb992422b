/* CQL types: names, wire descriptions, validity of serialized values and their order.
 * Values are always in the serialized form of protocol v3/v4 (native_protocol_v4.spec §6). */
#pragma once

#include "arena.h"
#include "bytes.h"
#include "common/dynbuf.h"
#include "failure.h"

enum type_id {
    TYPE_ASCII = 0x01,
    TYPE_BIGINT = 0x02,
    TYPE_BLOB = 0x03,
    TYPE_BOOLEAN = 0x04,
    TYPE_COUNTER = 0x05,
    TYPE_DECIMAL = 0x06,
    TYPE_DOUBLE = 0x07,
    TYPE_FLOAT = 0x08,
    TYPE_INT = 0x09,
    TYPE_TIMESTAMP = 0x0B,
    TYPE_UUID = 0x0C,
    TYPE_TEXT = 0x0D,
    TYPE_VARINT = 0x0E,
    TYPE_TIMEUUID = 0x0F,
    TYPE_INET = 0x10,
    TYPE_DATE = 0x11,
    TYPE_TIME = 0x12,
    TYPE_SMALLINT = 0x13,
    TYPE_TINYINT = 0x14,
    TYPE_LIST = 0x20,
    TYPE_MAP = 0x21,
    TYPE_SET = 0x22,
    TYPE_UDT = 0x30,
    TYPE_TUPLE = 0x31,
};

#define TYPE_MAX_DEPTH 16

struct cql_type {
    enum type_id id;
    bool frozen;
    size_t count; /* parts: 1 list and set, 2 map, n tuple and user type */
    const struct cql_type **parts;
    const char *keyspace; /* user type */
    const char *name;     /* user type */
    const char **fields;  /* user type: names of the parts */
};

/* The one shared instance of a native type. */
const struct cql_type *type_native(enum type_id id);
/* By CQL name, case-insensitive ("varchar" is text); NULL when no native type has it. */
const struct cql_type *type_native_by_name(const char *name);
/* list<element> or set<element>, not frozen, kept in arena. */
const struct cql_type *type_collection(struct arena *arena, enum type_id id,
                                       const struct cql_type *element);
const struct cql_type *type_copy(struct arena *arena, const struct cql_type *type);
bool type_is_collection(const struct cql_type *type);
/* Native types have one value; collections, tuples and user types are made of others. */
bool type_is_native(const struct cql_type *type);
bool type_equal(const struct cql_type *a, const struct cql_type *b);
/* May a value of the type given stand where wanted is? */
bool type_accepts(const struct cql_type *wanted, const struct cql_type *given);

/* As CREATE TABLE spells it: frozen<map<text, int>>. */
void type_print(struct dynbuf *out, const struct cql_type *type);
const char *type_text(struct arena *arena, const struct cql_type *type);
/* The [option] of native_protocol_v4.spec §4.2.5.2; date and smaller types do not exist in v3 but
 * are sent all the same, as Cassandra does. */
void type_put_option(struct dynbuf *out, const struct cql_type *type);

/* Says whether value (length >= 0) is a serialized value of type; the text is like Cassandra's. */
MUST_CHECK bool type_validate(const struct cql_type *type, struct bytes value,
                              struct failure *failure);
/* The order of clustering columns; both values valid. */
int type_compare(const struct cql_type *type, struct bytes a, struct bytes b);

/* Elements of a valid list, set, map (keys and values alternate), tuple or user type value. Missing
 * trailing fields of a tuple read as null. */
struct type_walk {
    const struct cql_type *type;
    const uint8_t *at;
    const uint8_t *end;
    size_t index;
    size_t total;
};
void type_walk_start(struct type_walk *walk, const struct cql_type *type, struct bytes value);
/* False after the last element; element_type may be NULL. */
bool type_walk_next(struct type_walk *walk, struct bytes *element,
                    const struct cql_type **element_type);

/* JSON for people and tests: numbers as numbers where JSON can hold them, blobs as "0x..". */
void type_print_json(struct dynbuf *out, const struct cql_type *type, struct bytes value);
void type_print_json_text(struct dynbuf *out, struct bytes text);
