/* LZ4 with the length before it, and Snappy. Pure. An announced length is compared with what the
 * algorithm could have made of the bytes that really came before anything is allocated by it. */
#include "compression.h"

#include <lz4.h>
#include <snappy-c.h>
#include <strings.h>

#include "wire.h"

/* No byte of LZ4 stands for more than 255, none of Snappy for more than 22. */
#define LZ4_RATIO    255
#define SNAPPY_RATIO 22
#define SLACK_BYTES  64

static const char *const names[COMPRESSION_LIMIT] = {
    [COMPRESSION_NONE] = "none",
    [COMPRESSION_LZ4] = "lz4",
    [COMPRESSION_SNAPPY] = "snappy",
};

const char *compression_name(enum compression compression)
{
    return names[compression];
}

enum compression compression_parse(struct bytes name)
{
    for (enum compression i = COMPRESSION_LZ4; i < COMPRESSION_LIMIT; i++)
        if (name.length == (int32_t)strlen(names[i]) &&
            strncasecmp((const char *)name.data, names[i], strlen(names[i])) == 0)
            return i;
    return COMPRESSION_LIMIT;
}

void compression_deflate(enum compression compression, const uint8_t *data, size_t length,
                         struct dynbuf *out)
{
    bool lz4 = compression == COMPRESSION_LZ4;
    size_t bound =
        lz4 ? (size_t)LZ4_compressBound((int)length) : snappy_max_compressed_length(length);
    char *buffer = malloc(bound);
    CHECK(buffer != NULL);
    if (lz4) {
        int size = LZ4_compress_default((const char *)data, buffer, (int)length, (int)bound);
        CHECK(size > 0);
        bound = (size_t)size;
        wire_put_i32(out, (int32_t)length);
    } else {
        CHECK(snappy_compress((const char *)data, length, buffer, &bound) == SNAPPY_OK);
    }
    dynbuf_append(out, buffer, bound);
    free(buffer);
}

static bool announced_length(enum compression compression, const uint8_t *data, size_t length,
                             size_t *announced)
{
    if (compression == COMPRESSION_SNAPPY)
        return snappy_uncompressed_length((const char *)data, length, announced) == SNAPPY_OK;
    if (length < 4)
        return false;
    *announced = (uint32_t)wire_load_i32(data);
    return true;
}

bool compression_inflate(enum compression compression, const uint8_t *data, size_t length,
                         size_t limit, struct dynbuf *out, const char **problem)
{
    bool lz4 = compression == COMPRESSION_LZ4;
    size_t announced = 0;
    dynbuf_reset(out);
    if (!announced_length(compression, data, length, &announced)) {
        *problem = "a compressed body without its length";
        return false;
    }
    if (announced > limit || announced > length * (lz4 ? LZ4_RATIO : SNAPPY_RATIO) + SLACK_BYTES) {
        *problem = "a compressed body announces more than it can hold";
        return false;
    }
    char *buffer = malloc(announced + 1);
    CHECK(buffer != NULL);
    bool ok;
    if (lz4) {
        ok = LZ4_decompress_safe((const char *)data + 4, buffer, (int)length - 4, (int)announced) ==
             (int)announced;
    } else {
        size_t size = announced;
        ok = snappy_uncompress((const char *)data, length, buffer, &size) == SNAPPY_OK &&
             size == announced;
    }
    *problem = "a compressed body does not inflate to what it announces";
    ok = ok && dynbuf_append(out, buffer, announced);
    free(buffer);
    return ok;
}
