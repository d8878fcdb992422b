/* LZ4 and snappy bodies. Pure; runs on any thread. It must never trust an announced length, nor
 * write past what the caller gave. */
#include "proto/cql_compression.h"

#include <limits.h>
#include <lz4.h>
#include <snappy-c.h>
#include <strings.h>

#define LZ4_LENGTH_BYTES 4

/* A byte of an LZ4 length code adds at most 255 to a match; no sequence does better. */
#define LZ4_RATIO_MAX 255

/* A snappy copy of two bytes after its tag (three in all) gives at most 64 bytes. */
#define SNAPPY_COPY_MAX   64
#define SNAPPY_COPY_BYTES 3

static const char *const names[] = {
    [CQL_COMPRESSION_NONE] = "none",
    [CQL_COMPRESSION_LZ4] = "lz4",
    [CQL_COMPRESSION_SNAPPY] = "snappy",
};

bool cql_compression_find(struct cql_span name, enum cql_compression *compression)
{
    *compression = CQL_COMPRESSION_NONE;
    if (name.length == 0)
        return true;
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        if (strlen(names[i]) == name.length &&
            strncasecmp(names[i], (const char *)name.data, name.length) == 0) {
            *compression = (enum cql_compression)i;
            return true;
        }
    }
    return false;
}

const char *cql_compression_name(enum cql_compression compression)
{
    return names[compression];
}

/* ---- lengths ---- */

/* The number a snappy block opens with: seven bits a byte, the lowest first. Returns how many bytes
 * it took; 0: there is no such number. */
static size_t read_varint(const uint8_t *at, size_t length, uint32_t *value)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < length && i < 5; i++) {
        sum |= (uint64_t)(at[i] & 0x7f) << (7 * i);
        if ((at[i] & 0x80) == 0) {
            *value = (uint32_t)sum;
            return sum > UINT32_MAX ? 0 : i + 1;
        }
    }
    return 0;
}

static bool read_lz4_length(const uint8_t *body, size_t length, size_t *inflated, size_t *possible)
{
    if (length < LZ4_LENGTH_BYTES)
        return false;
    *inflated = cql_load_u32(body);
    *possible = (length - LZ4_LENGTH_BYTES) * LZ4_RATIO_MAX;
    return true;
}

static bool read_snappy_length(const uint8_t *body, size_t length, size_t *inflated,
                               size_t *possible)
{
    uint32_t announced = 0;
    size_t head = read_varint(body, length, &announced);
    if (head == 0)
        return false;
    *inflated = announced;
    *possible = (length - head) * SNAPPY_COPY_MAX / SNAPPY_COPY_BYTES + SNAPPY_COPY_MAX;
    return true;
}

bool cql_inflated_length(enum cql_compression compression, const uint8_t *body, size_t length,
                         size_t limit, size_t *inflated, const char **reason)
{
    size_t possible = 0;
    *inflated = 0;
    bool is_read = compression == CQL_COMPRESSION_LZ4
                       ? read_lz4_length(body, length, inflated, &possible)
                   : compression == CQL_COMPRESSION_SNAPPY
                       ? read_snappy_length(body, length, inflated, &possible)
                       : false;
    if (!is_read)
        *reason = "a compressed body does not announce its uncompressed length";
    else if (*inflated > limit)
        *reason = "a compressed body announces an uncompressed length over the limit";
    else if (*inflated > possible)
        *reason = "a compressed body is too short for the uncompressed length it announces";
    else
        return true;
    return false;
}

/* ---- whole ---- */

bool cql_inflate(enum cql_compression compression, const uint8_t *body, size_t length, uint8_t *out,
                 size_t inflated, const char **reason)
{
    *reason = "a compressed body is corrupt";
    if (compression == CQL_COMPRESSION_LZ4) {
        if (length < LZ4_LENGTH_BYTES || length - LZ4_LENGTH_BYTES > INT_MAX || inflated > INT_MAX)
            return false;
        if (length == LZ4_LENGTH_BYTES)
            return inflated == 0; /* an empty body without even the block's one byte */
        /* A match at distance 0 is no LZ4, but the library lets it pass and leaves the bytes that
         * were in out: nothing of an earlier body may show through. */
        memset(out, 0, inflated);
        int got = LZ4_decompress_safe((const char *)body + LZ4_LENGTH_BYTES, (char *)out,
                                      (int)(length - LZ4_LENGTH_BYTES), (int)inflated);
        return got >= 0 && (size_t)got == inflated;
    }
    size_t room = inflated;
    return compression == CQL_COMPRESSION_SNAPPY &&
           snappy_uncompress((const char *)body, length, (char *)out, &room) == SNAPPY_OK &&
           room == inflated;
}

/* ---- the beginning ---- */

/* The snappy library has no partial decoder, and a Rows answer may be large where only its first
 * bytes are looked at. The format: a tag byte whose two lowest bits tell literal (0) from copies
 * with one, two or four bytes of offset. */
static size_t snappy_head(const uint8_t *at, const uint8_t *end, uint8_t *out, size_t wanted)
{
    size_t done = 0;
    while (done < wanted && at < end) {
        uint8_t tag = *at++;
        size_t left = (size_t)(end - at);
        size_t run = tag >> 2;
        size_t offset = 0;
        if ((tag & 3) == 0) {
            size_t extra = run < 60 ? 0 : run - 59;
            if (extra > left)
                return done;
            if (extra > 0) {
                run = 0;
                for (size_t i = 0; i < extra; i++)
                    run |= (size_t)at[i] << (8 * i);
                at += extra;
                left -= extra;
            }
            run++;
            size_t part = run < left ? run : left;
            if (part > wanted - done)
                part = wanted - done;
            memcpy(out + done, at, part);
            done += part;
            at += part;
            if (part < run)
                return done;
            continue;
        }
        size_t offset_bytes = (tag & 3) == 1 ? 1 : (tag & 3) == 2 ? 2 : 4;
        if (offset_bytes > left)
            return done;
        for (size_t i = 0; i < offset_bytes; i++)
            offset |= (size_t)at[i] << (8 * i);
        at += offset_bytes;
        if (offset_bytes == 1) {
            offset |= (size_t)(tag >> 5) << 8;
            run = ((tag >> 2) & 7) + 4;
        } else {
            run++;
        }
        if (offset == 0 || offset > done)
            return 0;
        for (; run > 0 && done < wanted; run--, done++)
            out[done] = out[done - offset];
    }
    return done;
}

/* The rest of a length that did not fit its half of a token: bytes to add up, of which all but the
 * last are 255. false: the last is not there. */
static bool add_lz4_run(const uint8_t **at, const uint8_t *end, size_t *run)
{
    while (*at < end) {
        uint8_t more = *(*at)++;
        *run += more;
        if (more != 255)
            return true;
    }
    return false;
}

/* The library's partial decoder costs several times a whole small body: it clears nothing, so that
 * its room must be clear, and takes room without slack byte by byte. The format: a token, whose
 * halves tell how many literals follow and how long a copy is (less four), the literals, and two
 * bytes of the copy's distance. The last sequence ends with its literals. */
static size_t lz4_head(const uint8_t *at, const uint8_t *end, uint8_t *out, size_t wanted)
{
    size_t done = 0;
    while (done < wanted && at < end) {
        uint8_t token = *at++;
        size_t run = token >> 4;
        if (run == 15 && !add_lz4_run(&at, end, &run))
            return done;
        size_t left = (size_t)(end - at);
        size_t part = run < left ? run : left;
        if (part > wanted - done)
            part = wanted - done;
        memcpy(out + done, at, part);
        done += part;
        if (done == wanted || left < run + 2)
            return done;
        at += run;
        size_t offset = (size_t)at[0] | (size_t)at[1] << 8;
        at += 2;
        if (offset == 0 || offset > done)
            return 0;
        run = token & 15;
        if (run == 15 && !add_lz4_run(&at, end, &run))
            return done;
        for (run += 4; run > 0 && done < wanted; run--, done++)
            out[done] = out[done - offset];
    }
    return done;
}

size_t cql_inflate_head(enum cql_compression compression, const uint8_t *body, size_t length,
                        uint8_t *out, size_t wanted)
{
    size_t inflated = 0, possible = 0;
    uint32_t announced = 0;
    if (compression == CQL_COMPRESSION_LZ4) {
        if (!read_lz4_length(body, length, &inflated, &possible))
            return 0;
        return lz4_head(body + LZ4_LENGTH_BYTES, body + length, out,
                        wanted < inflated ? wanted : inflated);
    }
    size_t head = compression == CQL_COMPRESSION_SNAPPY ? read_varint(body, length, &announced) : 0;
    if (head == 0)
        return 0;
    return snappy_head(body + head, body + length, out, wanted < announced ? wanted : announced);
}

/* ---- making ---- */

size_t cql_deflated_bound(enum cql_compression compression, size_t length)
{
    if (compression == CQL_COMPRESSION_LZ4)
        return length > LZ4_MAX_INPUT_SIZE
                   ? 0
                   : LZ4_LENGTH_BYTES + (size_t)LZ4_compressBound((int)length);
    return compression == CQL_COMPRESSION_SNAPPY && length <= UINT32_MAX
               ? snappy_max_compressed_length(length)
               : 0;
}

size_t cql_deflate(enum cql_compression compression, const uint8_t *plain, size_t length,
                   uint8_t *out)
{
    size_t bound = cql_deflated_bound(compression, length);
    if (bound == 0)
        return 0;
    if (compression == CQL_COMPRESSION_LZ4) {
        int written = LZ4_compress_default((const char *)plain, (char *)out + LZ4_LENGTH_BYTES,
                                           (int)length, (int)(bound - LZ4_LENGTH_BYTES));
        cql_store_u32(out, (uint32_t)length);
        return written <= 0 ? 0 : LZ4_LENGTH_BYTES + (size_t)written;
    }
    size_t written = bound;
    return snappy_compress((const char *)plain, length, (char *)out, &written) == SNAPPY_OK
               ? written
               : 0;
}
