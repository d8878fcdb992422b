/* Segment headers and checksums. Pure: no allocation, no I/O; nothing read here is trusted before
 * its checksum has been compared. */
#include "proto/cql_segment.h"

#include <libdeflate.h>
#include <lz4.h>

#define LENGTH_BITS 17
#define LENGTH_MASK ((1u << LENGTH_BITS) - 1)

/* CRC24 is made over the header from its first byte on, most significant bit first. */
#define CRC24_BEGIN 0x875060u
#define CRC24_BYTES 3

/* Every payload's CRC32 begins with these four bytes, so that a run of zeros does not have the
 * checksum zero: fa 2d 55 ca. */
#define CRC32_BEGIN 0x44777ed3u

/* Payloads below this are not worth compressing: LZ4 finds next to nothing in them. */
#define DEFLATED_LEAST 64

/* The remainders of all bytes for the polynomial 0x1974f0b. */
static const uint32_t crc24_table[256] = {
    0x000000, 0x974f0b, 0xb9d11d, 0x2e9e16, 0xe4ed31, 0x73a23a, 0x5d3c2c, 0xca7327, 0x5e9569,
    0xc9da62, 0xe74474, 0x700b7f, 0xba7858, 0x2d3753, 0x03a945, 0x94e64e, 0xbd2ad2, 0x2a65d9,
    0x04fbcf, 0x93b4c4, 0x59c7e3, 0xce88e8, 0xe016fe, 0x7759f5, 0xe3bfbb, 0x74f0b0, 0x5a6ea6,
    0xcd21ad, 0x07528a, 0x901d81, 0xbe8397, 0x29cc9c, 0xed1aaf, 0x7a55a4, 0x54cbb2, 0xc384b9,
    0x09f79e, 0x9eb895, 0xb02683, 0x276988, 0xb38fc6, 0x24c0cd, 0x0a5edb, 0x9d11d0, 0x5762f7,
    0xc02dfc, 0xeeb3ea, 0x79fce1, 0x50307d, 0xc77f76, 0xe9e160, 0x7eae6b, 0xb4dd4c, 0x239247,
    0x0d0c51, 0x9a435a, 0x0ea514, 0x99ea1f, 0xb77409, 0x203b02, 0xea4825, 0x7d072e, 0x539938,
    0xc4d633, 0x4d7a55, 0xda355e, 0xf4ab48, 0x63e443, 0xa99764, 0x3ed86f, 0x104679, 0x870972,
    0x13ef3c, 0x84a037, 0xaa3e21, 0x3d712a, 0xf7020d, 0x604d06, 0x4ed310, 0xd99c1b, 0xf05087,
    0x671f8c, 0x49819a, 0xdece91, 0x14bdb6, 0x83f2bd, 0xad6cab, 0x3a23a0, 0xaec5ee, 0x398ae5,
    0x1714f3, 0x805bf8, 0x4a28df, 0xdd67d4, 0xf3f9c2, 0x64b6c9, 0xa060fa, 0x372ff1, 0x19b1e7,
    0x8efeec, 0x448dcb, 0xd3c2c0, 0xfd5cd6, 0x6a13dd, 0xfef593, 0x69ba98, 0x47248e, 0xd06b85,
    0x1a18a2, 0x8d57a9, 0xa3c9bf, 0x3486b4, 0x1d4a28, 0x8a0523, 0xa49b35, 0x33d43e, 0xf9a719,
    0x6ee812, 0x407604, 0xd7390f, 0x43df41, 0xd4904a, 0xfa0e5c, 0x6d4157, 0xa73270, 0x307d7b,
    0x1ee36d, 0x89ac66, 0x9af4aa, 0x0dbba1, 0x2325b7, 0xb46abc, 0x7e199b, 0xe95690, 0xc7c886,
    0x50878d, 0xc461c3, 0x532ec8, 0x7db0de, 0xeaffd5, 0x208cf2, 0xb7c3f9, 0x995def, 0x0e12e4,
    0x27de78, 0xb09173, 0x9e0f65, 0x09406e, 0xc33349, 0x547c42, 0x7ae254, 0xedad5f, 0x794b11,
    0xee041a, 0xc09a0c, 0x57d507, 0x9da620, 0x0ae92b, 0x24773d, 0xb33836, 0x77ee05, 0xe0a10e,
    0xce3f18, 0x597013, 0x930334, 0x044c3f, 0x2ad229, 0xbd9d22, 0x297b6c, 0xbe3467, 0x90aa71,
    0x07e57a, 0xcd965d, 0x5ad956, 0x744740, 0xe3084b, 0xcac4d7, 0x5d8bdc, 0x7315ca, 0xe45ac1,
    0x2e29e6, 0xb966ed, 0x97f8fb, 0x00b7f0, 0x9451be, 0x031eb5, 0x2d80a3, 0xbacfa8, 0x70bc8f,
    0xe7f384, 0xc96d92, 0x5e2299, 0xd78eff, 0x40c1f4, 0x6e5fe2, 0xf910e9, 0x3363ce, 0xa42cc5,
    0x8ab2d3, 0x1dfdd8, 0x891b96, 0x1e549d, 0x30ca8b, 0xa78580, 0x6df6a7, 0xfab9ac, 0xd427ba,
    0x4368b1, 0x6aa42d, 0xfdeb26, 0xd37530, 0x443a3b, 0x8e491c, 0x190617, 0x379801, 0xa0d70a,
    0x343144, 0xa37e4f, 0x8de059, 0x1aaf52, 0xd0dc75, 0x47937e, 0x690d68, 0xfe4263, 0x3a9450,
    0xaddb5b, 0x83454d, 0x140a46, 0xde7961, 0x49366a, 0x67a87c, 0xf0e777, 0x640139, 0xf34e32,
    0xddd024, 0x4a9f2f, 0x80ec08, 0x17a303, 0x393d15, 0xae721e, 0x87be82, 0x10f189, 0x3e6f9f,
    0xa92094, 0x6353b3, 0xf41cb8, 0xda82ae, 0x4dcda5, 0xd92beb, 0x4e64e0, 0x60faf6, 0xf7b5fd,
    0x3dc6da, 0xaa89d1, 0x8417c7, 0x1358cc,
};

static uint32_t crc24(const uint8_t *bytes, size_t length)
{
    uint32_t crc = CRC24_BEGIN;
    for (size_t i = 0; i < length; i++)
        crc = (crc << 8 & 0xffffff) ^ crc24_table[crc >> 16 ^ bytes[i]];
    return crc;
}

static uint64_t load_little(const uint8_t *at, size_t bytes)
{
    uint64_t value = 0;
    while (bytes-- > 0)
        value = value << 8 | at[bytes];
    return value;
}

static void store_little(uint8_t *at, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++, value >>= 8)
        at[i] = (uint8_t)value;
}

enum cql_segment_verdict cql_segment_read(const uint8_t *data, size_t length, bool is_lz4,
                                          struct cql_segment *segment, const char **reason)
{
    size_t header_bytes = cql_segment_header_bytes(is_lz4);
    size_t fields_bytes = header_bytes - CRC24_BYTES;
    *segment = (struct cql_segment){0};
    if (length < header_bytes)
        return CQL_SEGMENT_MORE;
    if (crc24(data, fields_bytes) != load_little(data + fields_bytes, CRC24_BYTES)) {
        *reason = "its header does not match its checksum";
        return CQL_SEGMENT_BAD;
    }
    uint64_t fields = load_little(data, fields_bytes);
    segment->payload = data + header_bytes;
    segment->length = fields & LENGTH_MASK;
    if (is_lz4)
        segment->inflated_length = fields >> LENGTH_BITS & LENGTH_MASK;
    segment->is_self_contained = (fields >> (is_lz4 ? 2 * LENGTH_BITS : LENGTH_BITS) & 1) != 0;
    segment->total = header_bytes + segment->length + CQL_SEGMENT_TRAILER_BYTES;
    if (length < segment->total)
        return CQL_SEGMENT_MORE;
    if (cql_segment_crc_add(cql_segment_crc_begin(), segment->payload, segment->length) !=
        load_little(segment->payload + segment->length, CQL_SEGMENT_TRAILER_BYTES)) {
        *reason = "its payload does not match its checksum";
        return CQL_SEGMENT_BAD;
    }
    return CQL_SEGMENT_DONE;
}

bool cql_segment_inflate(const struct cql_segment *segment, uint8_t *to)
{
    int inflated = LZ4_decompress_safe((const char *)segment->payload, (char *)to,
                                       (int)segment->length, (int)segment->inflated_length);
    return inflated >= 0 && (size_t)inflated == segment->inflated_length;
}

void cql_segment_put_header(uint8_t *to, bool is_lz4, size_t length, size_t inflated_length,
                            bool is_self_contained)
{
    size_t fields_bytes = cql_segment_header_bytes(is_lz4) - CRC24_BYTES;
    uint64_t fields = length;
    if (is_lz4)
        fields |= (uint64_t)inflated_length << LENGTH_BITS;
    if (is_self_contained)
        fields |= (uint64_t)1 << (is_lz4 ? 2 * LENGTH_BITS : LENGTH_BITS);
    store_little(to, fields, fields_bytes);
    store_little(to + fields_bytes, crc24(to, fields_bytes), CRC24_BYTES);
}

uint32_t cql_segment_crc_begin(void)
{
    return CRC32_BEGIN;
}

uint32_t cql_segment_crc_add(uint32_t crc, const void *bytes, size_t length)
{
    /* No bytes need no address, but the library takes NULL for a wish to begin anew. */
    return length == 0 ? crc : libdeflate_crc32(crc, bytes, length);
}

void cql_segment_put_trailer(uint8_t *to, uint32_t crc)
{
    store_little(to, crc, CQL_SEGMENT_TRAILER_BYTES);
}

size_t cql_segment_deflate(const uint8_t *payload, size_t length, uint8_t *to)
{
    if (length < DEFLATED_LEAST)
        return 0;
    int deflated = LZ4_compress_default((const char *)payload, (char *)to, (int)length,
                                        (int)CQL_SEGMENT_DEFLATED_MAX);
    return deflated > 0 && (size_t)deflated < length ? (size_t)deflated : 0;
}
