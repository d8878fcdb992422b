/* Compressed bodies: what other encoders make is read, what nobody could have made is refused
 * before a byte of room is needed, and the head of a body is the beginning of the whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/check.h"
#include "proto/cql_compression.h"
#include "tests/unit/exact_copy.h"

#define LIMIT ((size_t)16 * 1024 * 1024)

static const enum cql_compression algorithms[] = {CQL_COMPRESSION_LZ4, CQL_COMPRESSION_SNAPPY};

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

/* kind 0: noise, 1: one byte, 2: words, 3: runs. */
static void fill(uint8_t *out, size_t length, unsigned kind)
{
    static const char words[] = "INSERT INTO ks.table (key, value) VALUES (?, now()) ";
    uint32_t state = (uint32_t)length * 7 + kind;
    for (size_t i = 0; i < length; i++) {
        uint32_t number = next_random(&state);
        out[i] = kind == 0   ? (uint8_t)number
                 : kind == 1 ? 'a'
                 : kind == 2 ? (uint8_t)words[(i + number % 64 / 60) % (sizeof words - 1)]
                             : (uint8_t)(i / 700);
    }
}

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool is_known;
        enum cql_compression compression;
    } vectors[] = {
        {"lz4", true, CQL_COMPRESSION_LZ4},       {"LZ4", true, CQL_COMPRESSION_LZ4},
        {"snappy", true, CQL_COMPRESSION_SNAPPY}, {"Snappy", true, CQL_COMPRESSION_SNAPPY},
        {"none", true, CQL_COMPRESSION_NONE},     {"", true, CQL_COMPRESSION_NONE},
        {"lz", false, CQL_COMPRESSION_NONE},      {"lz44", false, CQL_COMPRESSION_NONE},
        {"deflate", false, CQL_COMPRESSION_NONE}, {"zstd", false, CQL_COMPRESSION_NONE},
        {"lz4\nx", false, CQL_COMPRESSION_NONE},
    };
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        enum cql_compression found = CQL_COMPRESSION_SNAPPY;
        struct cql_span name = {(const uint8_t *)vectors[i].name, strlen(vectors[i].name)};
        assert_int_equal(cql_compression_find(name, &found), vectors[i].is_known);
        assert_int_equal(found, vectors[i].compression);
    }
    assert_string_equal(cql_compression_name(CQL_COMPRESSION_LZ4), "lz4");
    assert_string_equal(cql_compression_name(CQL_COMPRESSION_SNAPPY), "snappy");
}

/* Made by hand from the format descriptions, not by the libraries. */
static void test_known_bodies(void **state)
{
    (void)state;
    static const struct {
        enum cql_compression compression;
        const char *body;
        size_t length;
        const char *plain;
    } vectors[] = {
        /* one literal */
        {CQL_COMPRESSION_LZ4, "\0\0\0\5\x50hello", 10, "hello"},
        /* nothing, with and without the block's one byte */
        {CQL_COMPRESSION_LZ4, "\0\0\0\0\0", 5, ""},
        {CQL_COMPRESSION_LZ4, "\0\0\0\0", 4, ""},
        /* "ab", a match that overlaps itself (offset 2, length 10), "final" */
        {CQL_COMPRESSION_LZ4,
         "\0\0\0\x11\x26"
         "ab\2\0\x50"
         "final",
         15, "ababababababfinal"},
        {CQL_COMPRESSION_SNAPPY, "\5\x10hello", 7, "hello"},
        {CQL_COMPRESSION_SNAPPY, "\0", 1, ""},
        /* "ab", a copy with one byte of offset (length 10), "final" */
        {CQL_COMPRESSION_SNAPPY,
         "\x11\4"
         "ab\x19\2\x10"
         "final",
         12, "ababababababfinal"},
        /* the same with two and with four bytes of offset */
        {CQL_COMPRESSION_SNAPPY,
         "\x11\4"
         "ab\x26\2\0\x10"
         "final",
         13, "ababababababfinal"},
        {CQL_COMPRESSION_SNAPPY,
         "\x11\4"
         "ab\x27\2\0\0\0\x10"
         "final",
         15, "ababababababfinal"},
        /* a literal whose length takes a byte of its own */
        {CQL_COMPRESSION_SNAPPY, "\5\xf0\4hello", 8, "hello"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        size_t want = strlen(vectors[i].plain), inflated = 99;
        const char *reason = NULL;
        uint8_t *body = exact_copy(vectors[i].body, vectors[i].length);
        print_message("vector %zu\n", i);
        assert_true(cql_inflated_length(vectors[i].compression, body, vectors[i].length, LIMIT,
                                        &inflated, &reason));
        assert_int_equal(inflated, want);
        uint8_t *out = exact_copy(vectors[i].plain, want);
        memset(out, 0xa5, want);
        assert_true(
            cql_inflate(vectors[i].compression, body, vectors[i].length, out, want, &reason));
        assert_memory_equal(out, vectors[i].plain, want);
        for (size_t wanted = 0; wanted <= want + 3; wanted++) {
            uint8_t *head = malloc(wanted + 1);
            size_t got =
                cql_inflate_head(vectors[i].compression, body, vectors[i].length, head, wanted);
            assert_int_equal(got, wanted < want ? wanted : want);
            assert_memory_equal(head, vectors[i].plain, got);
            free(head);
        }
        free(out);
        free(body);
    }
}

static void check_round_trip(enum cql_compression compression, const uint8_t *plain, size_t length)
{
    size_t bound = cql_deflated_bound(compression, length), inflated = 0;
    const char *reason = NULL;
    assert_true(bound > 0);
    uint8_t *body = malloc(bound);
    assert_non_null(body);
    size_t used = cql_deflate(compression, plain, length, body);
    assert_in_range(used, 1, bound);
    uint8_t *exact = exact_copy(body, used);
    assert_true(cql_inflated_length(compression, exact, used, length, &inflated, &reason));
    assert_int_equal(inflated, length);
    if (length > 0)
        assert_false(cql_inflated_length(compression, exact, used, length - 1, &inflated, &reason));
    uint8_t *out = malloc(length + 1);
    assert_true(cql_inflate(compression, exact, used, out, length, &reason));
    assert_memory_equal(out, plain, length);

    /* Heads of the whole body, and of bodies of which only a part has come. */
    static const size_t heads[] = {1, 4, 63, 64, 65, 255, 4096};
    for (size_t i = 0; i < ARRAY_COUNT(heads); i++) {
        size_t wanted = heads[i];
        uint8_t *head = malloc(wanted);
        size_t got = cql_inflate_head(compression, exact, used, head, wanted);
        assert_int_equal(got, wanted < length ? wanted : length);
        assert_memory_equal(head, plain, got);
        for (size_t part = used / 7; part < used; part += used / 7 + 1) {
            uint8_t *partial = exact_copy(exact, part);
            got = cql_inflate_head(compression, partial, part, head, wanted);
            assert_true(got <= wanted && got <= length);
            assert_memory_equal(head, plain, got);
            free(partial);
        }
        /* Twice what is wanted, and the length code of the longest run, always suffice. */
        size_t enough = 2 * wanted + length / 255 + 100;
        if (used > enough) {
            uint8_t *partial = exact_copy(exact, enough);
            got = cql_inflate_head(compression, partial, enough, head, wanted);
            assert_int_equal(got, wanted);
            free(partial);
        }
        free(head);
    }
    free(out);
    free(exact);
    free(body);
}

static void test_round_trips(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 2, 12, 13, 63, 64, 65, 1000, 65535, 65536, 300000};
    uint8_t *plain = malloc(300000);
    assert_non_null(plain);
    for (size_t a = 0; a < ARRAY_COUNT(algorithms); a++) {
        for (size_t i = 0; i < ARRAY_COUNT(lengths); i++) {
            for (unsigned kind = 0; kind < 4; kind++) {
                fill(plain, lengths[i], kind);
                check_round_trip(algorithms[a], plain, lengths[i]);
            }
        }
    }
    free(plain);
}

/* Every head of every small body, whole and cut off anywhere, in room of exactly its size. */
static void test_heads_of_all_sizes(void **state)
{
    (void)state;
    enum { LONGEST = 80 };
    uint8_t plain[LONGEST];
    for (size_t a = 0; a < ARRAY_COUNT(algorithms); a++) {
        for (unsigned kind = 0; kind < 4; kind++) {
            for (size_t length = 0; length <= LONGEST; length++) {
                fill(plain, length, kind);
                uint8_t *made = malloc(cql_deflated_bound(algorithms[a], length));
                size_t used = cql_deflate(algorithms[a], plain, length, made);
                for (size_t there = 0; there <= used; there++) {
                    uint8_t *body = exact_copy(made, there);
                    for (size_t wanted = 0; wanted <= length + 2; wanted++) {
                        uint8_t *head = malloc(wanted + (wanted == 0));
                        size_t got = cql_inflate_head(algorithms[a], body, there, head, wanted);
                        size_t most = wanted < length ? wanted : length;
                        assert_true(there < used ? got <= most : got == most);
                        assert_memory_equal(head, plain, got);
                        free(head);
                    }
                    free(body);
                }
                free(made);
            }
        }
    }
}

/* LZ4 by hand: lengths that take bytes of their own, and copies from where nothing is. */
static void test_lz4_heads(void **state)
{
    (void)state;
    uint8_t body[4 + 2 + 15 + 255 + 3 + 3 + 6], plain[600], head[600];
    uint8_t *to = body;
    cql_store_u32(to, sizeof plain);
    to += 4;
    /* 270 literals (15 + 255 + 0), then 4 + 15 + 255 + 46 = 320 bytes from 3 back */
    memcpy(to, "\xff\xff\0", 3);
    to += 3;
    for (size_t i = 0; i < 270; i++)
        to[i] = plain[i] = (uint8_t)(i * 7);
    to += 270;
    memcpy(to, "\3\0\xff\x2e", 4);
    to += 4;
    for (size_t i = 270; i < 590; i++)
        plain[i] = plain[i - 3];
    size_t length = (size_t)(to - body);
    for (size_t wanted = 0; wanted <= 590; wanted++) {
        memset(head, 0xa5, sizeof head);
        assert_int_equal(cql_inflate_head(CQL_COMPRESSION_LZ4, body, length, head, wanted), wanted);
        assert_memory_equal(head, plain, wanted);
        assert_true(head[wanted] == 0xa5);
    }
    assert_int_equal(cql_inflate_head(CQL_COMPRESSION_LZ4, body, length, head, 600), 590);
    /* Without the last byte of the copy's length nothing of it shows. */
    assert_int_equal(cql_inflate_head(CQL_COMPRESSION_LZ4, body, length - 1, head, 600), 270);
    for (size_t distance = 0; distance <= 271; distance += 271) {
        body[4 + 3 + 270] = (uint8_t)distance;
        body[4 + 3 + 271] = (uint8_t)(distance >> 8);
        assert_int_equal(cql_inflate_head(CQL_COMPRESSION_LZ4, body, length, head, 270), 270);
        assert_int_equal(cql_inflate_head(CQL_COMPRESSION_LZ4, body, length, head, 271), 0);
    }
}

/* The best either algorithm can do stays within what is held possible. */
static void test_the_most_compressible_body_is_accepted(void **state)
{
    (void)state;
    uint8_t *plain = calloc(1, LIMIT);
    assert_non_null(plain);
    for (size_t a = 0; a < ARRAY_COUNT(algorithms); a++) {
        uint8_t *body = malloc(cql_deflated_bound(algorithms[a], LIMIT));
        size_t used = cql_deflate(algorithms[a], plain, LIMIT, body), inflated = 0;
        const char *reason = NULL;
        assert_true(cql_inflated_length(algorithms[a], body, used, LIMIT, &inflated, &reason));
        assert_int_equal(inflated, LIMIT);
        free(body);
    }
    free(plain);
}

static void test_hostile_lengths(void **state)
{
    (void)state;
    static const struct {
        enum cql_compression compression;
        const char *body;
        size_t length;
        const char *reason; /* a part of it */
    } vectors[] = {
        {CQL_COMPRESSION_LZ4, "", 0, "does not announce"},
        {CQL_COMPRESSION_LZ4, "\0\0\0", 3, "does not announce"},
        {CQL_COMPRESSION_LZ4, "\0\0\0\5", 4, "too short"},
        {CQL_COMPRESSION_LZ4, "\xff\xff\xff\xff\x50hello", 10, "over the limit"},
        {CQL_COMPRESSION_LZ4, "\x7f\xff\xff\xff\x50hello", 10, "over the limit"},
        {CQL_COMPRESSION_LZ4, "\1\0\0\1\x50hello", 10, "over the limit"},
        {CQL_COMPRESSION_LZ4, "\1\0\0\0\x50hello", 10, "too short"},
        {CQL_COMPRESSION_LZ4, "\0\0\x06\0\x50hello", 10, "too short"},
        {CQL_COMPRESSION_SNAPPY, "", 0, "does not announce"},
        {CQL_COMPRESSION_SNAPPY, "\x80", 1, "does not announce"},
        {CQL_COMPRESSION_SNAPPY, "\x80\x80\x80\x80\x80\0", 6, "does not announce"},
        {CQL_COMPRESSION_SNAPPY, "\xff\xff\xff\xff\x7f", 5, "does not announce"},
        {CQL_COMPRESSION_SNAPPY, "\xff\xff\xff\xff\x0f\x10hello", 11, "over the limit"},
        {CQL_COMPRESSION_SNAPPY, "\x81\x80\x80\x08\x10hello", 10, "over the limit"},
        {CQL_COMPRESSION_SNAPPY, "\x80\x80\x80\x08\x10hello", 10, "too short"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        size_t inflated;
        const char *reason = "";
        uint8_t *body = exact_copy(vectors[i].body, vectors[i].length);
        print_message("vector %zu\n", i);
        assert_false(cql_inflated_length(vectors[i].compression, body, vectors[i].length, LIMIT,
                                         &inflated, &reason));
        assert_non_null(strstr(reason, vectors[i].reason));
        free(body);
    }
}

static void test_corrupt_blocks(void **state)
{
    (void)state;
    static const struct {
        enum cql_compression compression;
        const char *body;
        size_t length;
        size_t inflated;
    } vectors[] = {
        {CQL_COMPRESSION_LZ4, "\0\0\0\6\x50hello", 10, 6}, /* stands for less */
        {CQL_COMPRESSION_LZ4, "\0\0\0\4\x50hello", 10, 4}, /* stands for more */
        {CQL_COMPRESSION_LZ4, "\0\0\0\5\x50hell", 9, 5},   /* ends early */
        {CQL_COMPRESSION_LZ4,
         "\0\0\0\x11\x26"
         "ab\3\0\x50"
         "final",
         15, 17}, /* before the start */
        {CQL_COMPRESSION_SNAPPY, "\6\x10hello", 7, 6},
        {CQL_COMPRESSION_SNAPPY, "\4\x10hello", 7, 4},
        {CQL_COMPRESSION_SNAPPY, "\5\x10hell", 6, 5},
        {CQL_COMPRESSION_SNAPPY,
         "\x11\4"
         "ab\x19\3\x10"
         "final",
         12, 17},
        {CQL_COMPRESSION_SNAPPY,
         "\x11\4"
         "ab\x19\0\x10"
         "final",
         12, 17},
        {CQL_COMPRESSION_NONE, "hello", 5, 5},
    };
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        const char *reason = NULL;
        uint8_t *body = exact_copy(vectors[i].body, vectors[i].length);
        uint8_t *out = malloc(vectors[i].inflated);
        print_message("vector %zu\n", i);
        assert_false(cql_inflate(vectors[i].compression, body, vectors[i].length, out,
                                 vectors[i].inflated, &reason));
        assert_non_null(strstr(reason, "corrupt"));
        free(out);
        free(body);
    }
}

/* A match at distance 0 stands for nothing; whatever becomes of it, bytes of an earlier body must
 * not come out. */
static void test_nothing_shows_through(void **state)
{
    (void)state;
    static const uint8_t body[] = "\0\0\0\x11\x26"
                                  "ab\0\0\x50"
                                  "final";
    uint8_t out[17], head[17];
    const char *reason = NULL;
    memset(out, 's', sizeof out);
    memset(head, 's', sizeof head);
    bool is_whole =
        cql_inflate(CQL_COMPRESSION_LZ4, body, sizeof body - 1, out, sizeof out, &reason);
    size_t got = cql_inflate_head(CQL_COMPRESSION_LZ4, body, sizeof body - 1, head, sizeof head);
    assert_true(!is_whole || memchr(out, 's', sizeof out) == NULL);
    assert_true(got == 0 || memchr(head, 's', got) == NULL);
}

/* Flips every bit of small bodies: never a crash, and a head is never more than was wanted. */
static void test_flipped_bits(void **state)
{
    (void)state;
    uint8_t plain[200], head[200];
    fill(plain, sizeof plain, 2);
    for (size_t a = 0; a < ARRAY_COUNT(algorithms); a++) {
        uint8_t *body = malloc(cql_deflated_bound(algorithms[a], sizeof plain));
        size_t used = cql_deflate(algorithms[a], plain, sizeof plain, body);
        for (size_t bit = 0; bit < 8 * used; bit++) {
            uint8_t *broken = exact_copy(body, used);
            size_t inflated;
            const char *reason;
            broken[bit / 8] ^= (uint8_t)(1 << bit % 8);
            if (cql_inflated_length(algorithms[a], broken, used, 1 << 20, &inflated, &reason)) {
                uint8_t *out = malloc(inflated + 1);
                bool is_whole = cql_inflate(algorithms[a], broken, used, out, inflated, &reason);
                size_t got = cql_inflate_head(algorithms[a], broken, used, head, 50);
                assert_true(got <= 50);
                if (is_whole) {
                    assert_int_equal(got, inflated < 50 ? inflated : 50);
                    assert_memory_equal(head, out, got);
                }
                free(out);
            }
            free(broken);
        }
        free(body);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_known_bodies),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_heads_of_all_sizes),
        cmocka_unit_test(test_lz4_heads),
        cmocka_unit_test(test_the_most_compressible_body_is_accepted),
        cmocka_unit_test(test_hostile_lengths),
        cmocka_unit_test(test_corrupt_blocks),
        cmocka_unit_test(test_nothing_shows_through),
        cmocka_unit_test(test_flipped_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
