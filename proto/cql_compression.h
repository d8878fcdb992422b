/* Compressed bodies of protocol v3 and v4 (native protocol v4, section 5): read within bounds.
 *
 *   lz4     [int] inflated length, then one LZ4 block
 *   snappy  one raw snappy block, which opens with its inflated length
 *
 * A body announces how long it will be when inflated. Nothing is written, and nobody need reserve a
 * byte, before that number has been compared with a limit and with what so few compressed bytes can
 * possibly stand for. Pure, no allocation of its own. (v5 compresses segments, not bodies: see
 * cql_segment.h.) */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "proto/cql_cursor.h"

enum cql_compression {
    CQL_COMPRESSION_NONE,
    CQL_COMPRESSION_LZ4,
    CQL_COMPRESSION_SNAPPY,
};

/* The algorithm a STARTUP or SUPPORTED names, in any case, as Cassandra reads it. false: unknown.
 * "none" and the empty name are CQL_COMPRESSION_NONE. */
MUST_CHECK bool cql_compression_find(struct cql_span name, enum cql_compression *compression);
/* "lz4", "snappy", "none". */
const char *cql_compression_name(enum cql_compression compression);

/* How many bytes body stands for. false: the body announces no length, one over limit, or one it
 * cannot reach; *reason says which (static text). */
MUST_CHECK bool cql_inflated_length(enum cql_compression compression, const uint8_t *body,
                                    size_t length, size_t limit, size_t *inflated,
                                    const char **reason);

/* Inflates the whole body into out, which must hold inflated bytes as cql_inflated_length said.
 * false: the body is corrupt or stands for another number of bytes; *reason says so and what out
 * holds is undefined. */
MUST_CHECK bool cql_inflate(enum cql_compression compression, const uint8_t *body, size_t length,
                            uint8_t *out, size_t inflated, const char **reason);

/* Inflates no more than the first wanted bytes, at a cost that grows with wanted and not with the
 * body. The body may be incomplete (a large frame of which only the beginning has arrived): what it
 * has decides how far it gets. Returns how many bytes out holds, which is less than wanted when the
 * body stands for less or its beginning does not reach so far; 0 also when it is corrupt. They are
 * the first bytes of what cql_inflate gives, if that succeeds (but for an LZ4 block that copies
 * from distance 0, which its format forbids and the library lets pass: never bytes of anybody
 * else). */
size_t cql_inflate_head(enum cql_compression compression, const uint8_t *body, size_t length,
                        uint8_t *out, size_t wanted);

/* Upper bound of what cql_deflate writes for length bytes; 0: too long to be compressed. */
size_t cql_deflated_bound(enum cql_compression compression, size_t length);
/* Compresses length bytes into out, which must hold cql_deflated_bound(length) bytes. Returns how
 * many were written; 0: it failed (length too long for the algorithm). */
size_t cql_deflate(enum cql_compression compression, const uint8_t *plain, size_t length,
                   uint8_t *out);
