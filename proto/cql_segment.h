/* Segments: what envelopes of native protocol v5 travel in once a connection has been started
 * (v5 specification, section 2.2). All numbers are little-endian, unlike those of envelopes.
 *
 *   plain   17 bits length | 1 self-contained | 6 unused                             3 bytes
 *   lz4     17 bits length | 17 bits plain length | 1 self-contained | 5 unused      5 bytes
 *   then    CRC24 of those bytes (3) | length bytes of payload | CRC32 of the payload (4)
 *
 * With lz4 a plain length of 0 says that the payload is stored as it is. A self-contained segment
 * holds whole envelopes; the others hold parts of one that is too long for a segment. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"

/* Longest payload, on the wire and inflated. */
#define CQL_SEGMENT_PAYLOAD_MAX ((size_t)131071)

#define CQL_SEGMENT_HEADER_BYTES     6
#define CQL_SEGMENT_LZ4_HEADER_BYTES 8
#define CQL_SEGMENT_TRAILER_BYTES    4

/* Longest segment. */
#define CQL_SEGMENT_BYTES_MAX                                                                      \
    (CQL_SEGMENT_LZ4_HEADER_BYTES + CQL_SEGMENT_PAYLOAD_MAX + CQL_SEGMENT_TRAILER_BYTES)

/* What cql_segment_deflate may write for the longest payload: LZ4's own bound. */
#define CQL_SEGMENT_DEFLATED_MAX (CQL_SEGMENT_PAYLOAD_MAX + CQL_SEGMENT_PAYLOAD_MAX / 255 + 16)

enum cql_segment_verdict {
    CQL_SEGMENT_MORE, /* not all of it is there */
    CQL_SEGMENT_DONE,
    CQL_SEGMENT_BAD,
};

struct cql_segment {
    size_t total;           /* header, payload and trailer; 0 while the header is incomplete */
    const uint8_t *payload; /* borrowed, as on the wire */
    size_t length;          /* of payload */
    size_t inflated_length; /* 0: payload is plain */
    bool is_self_contained;
};

static inline size_t cql_segment_header_bytes(bool is_lz4)
{
    return is_lz4 ? CQL_SEGMENT_LZ4_HEADER_BYTES : CQL_SEGMENT_HEADER_BYTES;
}

/* Reads the segment at data. Both checksums are verified, the header's as soon as the header is
 * there. BAD: *reason says what is wrong (a constant text). */
enum cql_segment_verdict cql_segment_read(const uint8_t *data, size_t length, bool is_lz4,
                                          struct cql_segment *segment, const char **reason);
/* Inflates the payload of a segment whose inflated_length is not 0 into to, which has room for
 * inflated_length bytes. false: it is no LZ4 block of exactly that length. */
MUST_CHECK bool cql_segment_inflate(const struct cql_segment *segment, uint8_t *to);

/* Writes cql_segment_header_bytes(is_lz4) bytes. inflated_length is ignored unless is_lz4. */
void cql_segment_put_header(uint8_t *to, bool is_lz4, size_t length, size_t inflated_length,
                            bool is_self_contained);
/* The payload's checksum, over as many pieces as it lies in: begin, add …, put_trailer. */
uint32_t cql_segment_crc_begin(void);
uint32_t cql_segment_crc_add(uint32_t crc, const void *bytes, size_t length);
void cql_segment_put_trailer(uint8_t *to, uint32_t crc);
/* Compresses a payload into to, which has room for CQL_SEGMENT_DEFLATED_MAX bytes. Returns its new
 * length, or 0 when compressing does not make it shorter. */
size_t cql_segment_deflate(const uint8_t *payload, size_t length, uint8_t *to);
