/* Response bodies (native protocol v3 and v4, section 4.2): the few parts the proxy reads, and the
 * frames it makes itself. */
#pragma once

#include "common/check.h"
#include "common/dynbuf.h"
#include "proto/cql_cursor.h"
#include "proto/cql_frame.h"

enum cql_error {
#define CQL_ERROR(symbol, code, name, node_error) CQL_ERROR_##symbol = code,
#include "proto/cql_errors.def"
#undef CQL_ERROR
};

enum cql_result_kind {
    CQL_RESULT_VOID = 1,
    CQL_RESULT_ROWS = 2,
    CQL_RESULT_SET_KEYSPACE = 3,
    CQL_RESULT_PREPARED = 4,
    CQL_RESULT_SCHEMA_CHANGE = 5,
};

/* Prepared ids are 16 bytes in every Cassandra; more than this is refused. */
#define CQL_ID_MAX 32

/* The body after what the flags put in front of it: tracing id, warnings, custom payload
 * (section 2.2). */
struct cql_cursor cql_open_response(struct cql_header header, const uint8_t *body);

/* "SERVER_ERROR", or "UNKNOWN". */
const char *cql_error_name(int32_t code);

/* An ERROR body under construction: code, message, then the fields of that code. */
void cql_put_error(struct dynbuf *body, int32_t code, const char *message);
/* [short] and [string] pieces for those fields. */
void cql_put_u8(struct dynbuf *body, uint8_t value);
void cql_put_u16(struct dynbuf *body, uint16_t value);
void cql_put_i32(struct dynbuf *body, int32_t value);
void cql_put_string(struct dynbuf *body, const void *text, size_t length);
