/* The first half of the 128-bit x64 Murmur3 hash with seed 0, with the one oddity Cassandra has
 * kept: the bytes of the last partial block are sign-extended. Pure. */
#include "murmur3.h"

static uint64_t rotate(uint64_t value, unsigned by)
{
    return value << by | value >> (64 - by);
}

static uint64_t finish(uint64_t value)
{
    value ^= value >> 33;
    value *= UINT64_C(0xff51afd7ed558ccd);
    value ^= value >> 33;
    value *= UINT64_C(0xc4ceb9fe1a85ec53);
    return value ^ value >> 33;
}

static uint64_t load(const uint8_t *data)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | data[i];
    return value;
}

int64_t murmur3_token(const uint8_t *data, size_t length)
{
    const uint64_t c1 = UINT64_C(0x87c37b91114253d5);
    const uint64_t c2 = UINT64_C(0x4cf5ad432745937f);
    uint64_t h1 = 0;
    uint64_t h2 = 0;
    size_t blocks = length / 16;
    for (size_t i = 0; i < blocks; i++) {
        h1 ^= rotate(load(data + i * 16) * c1, 31) * c2;
        h1 = (rotate(h1, 27) + h2) * 5 + 0x52dce729;
        h2 ^= rotate(load(data + i * 16 + 8) * c2, 33) * c1;
        h2 = (rotate(h2, 31) + h1) * 5 + 0x38495ab5;
    }
    uint64_t k1 = 0;
    uint64_t k2 = 0;
    const uint8_t *tail = data + blocks * 16;
    for (size_t i = length & 15; i-- > 0;) {
        uint64_t extended = (uint64_t)(int64_t)(int8_t)tail[i];
        if (i >= 8)
            k2 ^= extended << (8 * (i - 8));
        else
            k1 ^= extended << (8 * i);
    }
    if ((length & 15) > 8)
        h2 ^= rotate(k2 * c2, 33) * c1;
    if ((length & 15) > 0)
        h1 ^= rotate(k1 * c1, 31) * c2;
    h1 ^= length;
    h2 ^= length;
    h1 += h2;
    h2 += h1;
    h1 = finish(h1);
    h2 = finish(h2);
    h1 += h2;
    /* The smallest token is reserved for "before everything". */
    return (int64_t)h1 == INT64_MIN ? INT64_MAX : (int64_t)h1;
}
