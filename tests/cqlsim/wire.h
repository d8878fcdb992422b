/* The notations of native_protocol_v4.spec and v5.spec §3, read with bounds checks and written into
 * a dynbuf. The simulator's own: nothing here comes from the proxy's codec. */
#pragma once

#include "bytes.h"
#include "common/dynbuf.h"

#define WIRE_HEADER_BYTES    9
#define WIRE_MAX_BODY        (256U * 1024 * 1024)
#define WIRE_FLAG_COMPRESSED 0x01
#define WIRE_FLAG_TRACING    0x02
#define WIRE_FLAG_PAYLOAD    0x04
#define WIRE_FLAG_WARNING    0x08

/* DataStax Enterprise's versions: the framing of v4, some of the fields of v5. */
#define WIRE_DSE1 0x41U
#define WIRE_DSE2 0x42U

enum wire_opcode {
    OP_ERROR = 0x00,
    OP_STARTUP = 0x01,
    OP_READY = 0x02,
    OP_AUTHENTICATE = 0x03,
    OP_OPTIONS = 0x05,
    OP_SUPPORTED = 0x06,
    OP_QUERY = 0x07,
    OP_RESULT = 0x08,
    OP_PREPARE = 0x09,
    OP_EXECUTE = 0x0A,
    OP_REGISTER = 0x0B,
    OP_EVENT = 0x0C,
    OP_BATCH = 0x0D,
    OP_AUTH_CHALLENGE = 0x0E,
    OP_AUTH_RESPONSE = 0x0F,
    OP_AUTH_SUCCESS = 0x10,
    OP_LIMIT = 0x11,
    OP_REVISE_REQUEST = 0xFF, /* DSE only */
};

/* What the versions have in common or not. */
static inline bool wire_is_dse(unsigned version)
{
    return version == WIRE_DSE1 || version == WIRE_DSE2;
}

/* Envelopes in segments once the connection is set up. */
static inline bool wire_has_segments(unsigned version)
{
    return version == 5;
}

/* Query flags as [int], reasons by endpoint in READ_FAILURE and WRITE_FAILURE. */
static inline bool wire_has_int_flags(unsigned version)
{
    return version >= 5;
}

/* A keyspace with each request, flags in PREPARE, result metadata ids. */
static inline bool wire_has_metadata_ids(unsigned version)
{
    return version == 5 || version == WIRE_DSE2;
}

/* NULL when no such opcode exists. */
const char *wire_opcode_name(unsigned opcode);
/* Case-insensitive; OP_LIMIT when there is none of that name. */
unsigned wire_opcode_parse(const char *name);

/* As SUPPORTED and refusals spell it: "4/v4". NULL for a version there is not. */
const char *wire_version_name(unsigned version);
/* The same for a version that is not finished: "5/v5-beta". */
const char *wire_beta_name(unsigned version);

struct wire_header {
    uint8_t version; /* with the direction bit */
    uint8_t flags;
    int16_t stream;
    uint8_t opcode;
    uint32_t length;
};

/* data holds WIRE_HEADER_BYTES bytes. */
void wire_header_read(const uint8_t *data, struct wire_header *header);

/* Reads from a span; the first piece that does not fit sets failed, and everything after reads as
 * zero. */
struct wire_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

uint8_t wire_u8(struct wire_reader *reader);
uint16_t wire_u16(struct wire_reader *reader);
int32_t wire_i32(struct wire_reader *reader);
int64_t wire_i64(struct wire_reader *reader);
struct bytes wire_string(struct wire_reader *reader);
struct bytes wire_long_string(struct wire_reader *reader);
struct bytes wire_short_bytes(struct wire_reader *reader);
/* [bytes]: a negative length is null. */
struct bytes wire_bytes(struct wire_reader *reader);
/* [value]: -1 null, -2 unset (v4 and later); anything lower fails. */
struct bytes wire_value(struct wire_reader *reader, unsigned version);
struct bytes wire_span(struct wire_reader *reader, size_t length);
static inline size_t wire_left(const struct wire_reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

/* The bits of a [int] of flags. */
static inline uint32_t wire_u32(struct wire_reader *reader)
{
    return (uint32_t)wire_i32(reader);
}

void wire_put_u8(struct dynbuf *out, uint8_t value);
void wire_put_u16(struct dynbuf *out, uint16_t value);
void wire_put_i32(struct dynbuf *out, int32_t value);
void wire_put_i64(struct dynbuf *out, int64_t value);
void wire_put_string(struct dynbuf *out, const char *text);
void wire_put_string_bytes(struct dynbuf *out, struct bytes text);
/* [bytes]; null and unset are written as null. */
void wire_put_bytes(struct dynbuf *out, struct bytes value);
/* [short bytes]. */
void wire_put_short_bytes(struct dynbuf *out, struct bytes value);
/* Overwrites four bytes written earlier at offset. */
void wire_patch_i32(struct dynbuf *out, size_t offset, int32_t value);

static inline int64_t wire_load_i64(const uint8_t *data)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = value << 8 | data[i];
    return (int64_t)value;
}

static inline int32_t wire_load_i32(const uint8_t *data)
{
    return (int32_t)((uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 |
                     data[3]);
}

static inline void wire_store_i64(uint8_t *data, int64_t value)
{
    for (int i = 0; i < 8; i++)
        data[i] = (uint8_t)((uint64_t)value >> (56 - 8 * i));
}

static inline void wire_store_i32(uint8_t *data, int32_t value)
{
    for (int i = 0; i < 4; i++)
        data[i] = (uint8_t)((uint32_t)value >> (24 - 8 * i));
}
