/* Segments in and out. Pure; nothing is allocated by a length that its checksum has not vouched
 * for, and none is longer than 128 KiB. */
#include "segment.h"

#include <lz4.h>
#include <zlib.h>

#define HEADER_PLAIN  3 /* without the CRC24 */
#define HEADER_LZ4    5
#define CRC24_BYTES   3
#define CRC32_BYTES   4
#define LENGTH_BITS   17
#define LENGTH_MASK   ((1U << LENGTH_BITS) - 1)
#define CRC24_INITIAL 0x875060U
#define CRC24_POLYNOM 0x1974F0BU

/* Over the header's bytes from the lowest of the number up. */
static uint32_t crc24(uint64_t header, size_t length)
{
    uint32_t crc = CRC24_INITIAL;
    for (size_t i = 0; i < length; i++) {
        crc ^= (uint32_t)(header >> 8 * i & 0xFF) << 16;
        for (int bit = 0; bit < 8; bit++) {
            crc <<= 1;
            if ((crc & 0x1000000) != 0)
                crc ^= CRC24_POLYNOM;
        }
    }
    return crc;
}

/* zlib's CRC32 begun with four bytes, so that a payload of zeroes has no sum of zero. */
static uint32_t payload_crc(const uint8_t *data, size_t length)
{
    static const uint8_t salt[] = {0xFA, 0x2D, 0x55, 0xCA};
    uLong crc = crc32(crc32(0, NULL, 0), salt, sizeof salt);
    return (uint32_t)crc32(crc, data, (uInt)length);
}

static void put_little(struct dynbuf *out, uint64_t number, size_t length)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)(number >> 8 * i);
    dynbuf_append(out, bytes, length);
}

static uint64_t load_little(const uint8_t *data, size_t length)
{
    uint64_t number = 0;
    for (size_t i = length; i-- > 0;)
        number = number << 8 | data[i];
    return number;
}

void segment_put(struct dynbuf *out, const uint8_t *payload, size_t length, bool self_contained,
                 bool lz4, enum corruption corruption)
{
    static uint8_t buffer[LZ4_COMPRESSBOUND(SEGMENT_MAX_PAYLOAD)];
    const uint8_t *body = payload;
    size_t body_length = length;
    size_t header_length = lz4 ? HEADER_LZ4 : HEADER_PLAIN;
    size_t uncompressed = 0;
    CHECK(length <= SEGMENT_MAX_PAYLOAD);
    if (lz4) {
        int size =
            LZ4_compress_default((const char *)payload, (char *)buffer, (int)length, sizeof buffer);
        bool smaller = size > 0 && (size_t)size < length;
        bool spoiled = corruption == CORRUPT_BODY || corruption == CORRUPT_LENGTH;
        if (smaller || (spoiled && size > 0 && (size_t)size <= SEGMENT_MAX_PAYLOAD)) {
            body = buffer;
            body_length = (size_t)size;
            uncompressed = length;
        }
        if (corruption == CORRUPT_BODY)
            memset(buffer, 0xFF, body_length);
        if (corruption == CORRUPT_LENGTH)
            uncompressed = uncompressed == SEGMENT_MAX_PAYLOAD ? 1 : SEGMENT_MAX_PAYLOAD;
    }
    uint64_t header = body_length;
    if (lz4)
        header |= (uint64_t)uncompressed << LENGTH_BITS;
    header |= (uint64_t)self_contained << (lz4 ? 2 * LENGTH_BITS : LENGTH_BITS);
    put_little(out, header, header_length);
    put_little(out, crc24(header, header_length) ^ (corruption == CORRUPT_HEADER), CRC24_BYTES);
    dynbuf_append(out, body, body_length);
    put_little(out, payload_crc(body, body_length) ^ (corruption == CORRUPT_PAYLOAD), CRC32_BYTES);
}

static enum segment_verdict bad(struct segment *segment, const char *problem)
{
    segment->problem = problem;
    return SEGMENT_BAD;
}

enum segment_verdict segment_take(const uint8_t *data, size_t length, bool lz4,
                                  struct segment *segment, struct dynbuf *out)
{
    static uint8_t buffer[SEGMENT_MAX_PAYLOAD];
    size_t header_length = lz4 ? HEADER_LZ4 : HEADER_PLAIN;
    if (length < header_length + CRC24_BYTES)
        return SEGMENT_MORE;
    uint64_t header = load_little(data, header_length);
    if (load_little(data + header_length, CRC24_BYTES) != crc24(header, header_length))
        return bad(segment, "the CRC24 of a segment's header does not fit");
    size_t body_length = header & LENGTH_MASK;
    size_t uncompressed = lz4 ? header >> LENGTH_BITS & LENGTH_MASK : 0;
    const uint8_t *body = data + header_length + CRC24_BYTES;
    segment->used = header_length + CRC24_BYTES + body_length + CRC32_BYTES;
    segment->self_contained = (header >> (lz4 ? 2 * LENGTH_BITS : LENGTH_BITS) & 1) != 0;
    if (length < segment->used)
        return SEGMENT_MORE;
    if (load_little(body + body_length, CRC32_BYTES) != payload_crc(body, body_length))
        return bad(segment, "the CRC32 of a segment's payload does not fit");
    if (uncompressed > 0) {
        int size = LZ4_decompress_safe((const char *)body, (char *)buffer, (int)body_length,
                                       (int)uncompressed);
        if (size < 0 || (size_t)size != uncompressed)
            return bad(segment, "a segment's payload is no LZ4 of the length it announces");
        body = buffer;
        body_length = uncompressed;
    }
    return dynbuf_append(out, body, body_length) ? SEGMENT_DONE
                                                 : bad(segment, "an envelope is too large");
}
