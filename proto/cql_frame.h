/* The CQL frame header (native protocol specification v3 to v5, section 2; v5 calls the frame an
 * envelope): nine bytes, the same in every version the proxy speaks.
 *
 *   version/direction u8 | flags u8 | stream i16 | opcode u8 | body length i32 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/cql_cursor.h"

#define CQL_HEADER_BYTES 9
#define CQL_VERSION_MIN  3
/* What is spoken to those whose version nobody knows. */
#define CQL_VERSION_COMMON 4
/* DSE's dialects: v4's framing with bodies between v4's and v5's. */
#define CQL_VERSION_DSE1 0x41
#define CQL_VERSION_DSE2 0x42
#define CQL_RESPONSE_BIT 0x80

/* Largest frame either side may announce: native_transport_max_frame_size of Cassandra 3.11 (256
 * MB). */
#define CQL_FRAME_BODY_MAX (256u * 1024 * 1024)

enum cql_flag {
    CQL_FLAG_COMPRESSED = 0x01,
    CQL_FLAG_TRACING = 0x02,
    CQL_FLAG_CUSTOM_PAYLOAD = 0x04,
    CQL_FLAG_WARNING = 0x08,
};

enum cql_opcode {
#define CQL_OPCODE(symbol, code, name, is_request) CQL_OPCODE_##symbol = code,
#include "proto/cql_opcodes.def"
#undef CQL_OPCODE
};

struct cql_header {
    uint8_t version; /* without the direction bit */
    bool is_response;
    uint8_t flags;
    int16_t stream;
    uint8_t opcode;
    uint32_t body_length; /* as announced; may exceed CQL_FRAME_BODY_MAX, the caller decides */
};

/* What sets the versions apart. v5: frames travel in segments with checksums. */
static inline bool cql_version_has_segments(uint8_t version)
{
    return version == 5;
}

/* v5, DSE1, DSE2: the flags of query parameters are an [int], not a byte. */
static inline bool cql_version_has_int_flags(uint8_t version)
{
    return version >= 5;
}

/* v5, DSE2: PREPARE has flags and a keyspace, QUERY and BATCH may name a keyspace, PREPARED and
 * EXECUTE carry a result metadata id. */
static inline bool cql_version_has_metadata_id(uint8_t version)
{
    return version == 5 || version == CQL_VERSION_DSE2;
}

/* Reads the nine bytes at data. */
static inline struct cql_header cql_header_load(const uint8_t *data)
{
    return (struct cql_header){
        .version = data[0] & 0x7f,
        .is_response = (data[0] & CQL_RESPONSE_BIT) != 0,
        .flags = data[1],
        .stream = (int16_t)cql_load_u16(data + 2),
        .opcode = data[4],
        .body_length = cql_load_u32(data + 5),
    };
}

/* Writes the nine bytes at data. */
static inline void cql_header_store(uint8_t *data, struct cql_header header)
{
    data[0] = (uint8_t)(header.version | (header.is_response ? CQL_RESPONSE_BIT : 0));
    data[1] = header.flags;
    cql_store_u16(data + 2, (uint16_t)header.stream);
    data[4] = header.opcode;
    cql_store_u32(data + 5, header.body_length);
}

/* "QUERY", or "UNKNOWN". */
const char *cql_opcode_name(uint8_t opcode);

enum cql_direction { CQL_DIRECTION_UNKNOWN, CQL_DIRECTION_REQUEST, CQL_DIRECTION_RESPONSE };

extern const uint8_t cql_opcode_directions[256]; /* enum cql_direction */

static inline bool cql_opcode_is_request(uint8_t opcode)
{
    return cql_opcode_directions[opcode] == CQL_DIRECTION_REQUEST;
}

static inline bool cql_opcode_is_response(uint8_t opcode)
{
    return cql_opcode_directions[opcode] == CQL_DIRECTION_RESPONSE;
}
