/* Compressed bodies, any bytes: bounded memory, a head is the beginning of the whole, and what was
 * compressed comes back. The first byte chooses the algorithm, the next two the head's size. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "proto/cql_compression.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LIMIT ((size_t)1 << 20)

/* Whether a sequence of the block copies from distance 0, which the LZ4 format forbids and the
 * library lets pass: what such a copy brings depends on how the library moves its bytes. */
static bool copies_from_nowhere(const uint8_t *at, const uint8_t *end)
{
    while (at < end) {
        uint8_t token = *at++;
        size_t run = token >> 4;
        for (uint8_t more = run == 15 ? 255 : 0; more == 255 && at < end; run += more)
            more = *at++;
        if ((size_t)(end - at) < run + 2)
            return false;
        at += run;
        if (at[0] == 0 && at[1] == 0)
            return true;
        at += 2;
        for (uint8_t more = (token & 15) == 15 ? 255 : 0; more == 255 && at < end;)
            more = *at++;
    }
    return false;
}

static void check_head(enum cql_compression compression, const uint8_t *body, size_t length,
                       size_t wanted, const uint8_t *whole, size_t whole_length)
{
    uint8_t *head = malloc(wanted + 1);
    CHECK(head != NULL);
    size_t got = cql_inflate_head(compression, body, length, head, wanted);
    CHECK(got <= wanted);
    if (whole != NULL) {
        CHECK(got == (wanted < whole_length ? wanted : whole_length));
        CHECK(got == 0 || memcmp(head, whole, got) == 0);
    }
    free(head);
}

static void check_body(enum cql_compression compression, const uint8_t *body, size_t length,
                       size_t wanted)
{
    size_t inflated = 0;
    const char *reason = NULL;
    check_head(compression, body, length, wanted, NULL, 0);
    if (!cql_inflated_length(compression, body, length, LIMIT, &inflated, &reason)) {
        CHECK(reason != NULL);
        return;
    }
    CHECK(inflated <= LIMIT && inflated <= 255 * length + 64);
    uint8_t *out = malloc(inflated + 1);
    CHECK(out != NULL);
    bool is_strange = compression == CQL_COMPRESSION_LZ4 && length > 4 &&
                      copies_from_nowhere(body + 4, body + length);
    if (cql_inflate(compression, body, length, out, inflated, &reason) && !is_strange)
        check_head(compression, body, length, wanted, out, inflated);
    free(out);
}

static void check_round_trip(enum cql_compression compression, const uint8_t *plain, size_t length,
                             size_t wanted)
{
    uint8_t *body = malloc(cql_deflated_bound(compression, length));
    uint8_t *out = malloc(length + 1);
    size_t inflated = 0;
    const char *reason = NULL;
    CHECK(body != NULL && out != NULL);
    size_t used = cql_deflate(compression, plain, length, body);
    CHECK(used > 0 && used <= cql_deflated_bound(compression, length));
    CHECK(cql_inflated_length(compression, body, used, length, &inflated, &reason));
    CHECK(inflated == length);
    CHECK(cql_inflate(compression, body, used, out, inflated, &reason));
    CHECK(length == 0 || memcmp(out, plain, length) == 0);
    check_head(compression, body, used, wanted, plain, length);
    free(out);
    free(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    enum cql_compression compression =
        (data[0] & 1) != 0 ? CQL_COMPRESSION_SNAPPY : CQL_COMPRESSION_LZ4;
    size_t wanted = (size_t)data[1] << 8 | data[2];
    size_t length = size - 3;
    uint8_t *body = malloc(length + (length == 0));
    CHECK(body != NULL);
    memcpy(body, data + 3, length);
    if ((data[0] & 2) != 0)
        check_round_trip(compression, body, length, wanted);
    else
        check_body(compression, body, length, wanted);
    free(body);
    return 0;
}
