/* Function calls in any text: they are found where they stand, replaced texts are stable and hold
 * all that was between the calls, and PREPARED results and values of any bytes are taken or
 * refused, never believed. The first byte chooses what the rest is. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "dataplane/classify.h"
#include "dataplane/functions.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void make(void *context, enum function_kind kind, struct function_value *value)
{
    static const uint8_t lengths[] = {16, 16, 8, 4, 8};
    (void)context;
    memset(value, 0, sizeof *value);
    value->length = lengths[kind];
    memset(value->bytes, 0x80, 1);
}

static const struct function_maker maker = {make, NULL};

static uint32_t total(const struct function_counts *counts)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < FUNCTION_KIND_COUNT; i++)
        sum += counts->replaced[i];
    return sum;
}

static void check_text(const char *text, size_t length)
{
    struct function_search search;
    struct function_call call;
    struct function_counts counts, again;
    struct dynbuf literals, markers, twice;
    size_t end = 0;
    uint32_t calls = 0;
    dynbuf_init(&literals, 1 << 22);
    dynbuf_init(&markers, 1 << 22);
    dynbuf_init(&twice, 1 << 22);
    if (functions_search(&search, text, length)) {
        while (functions_next(&search, &call)) {
            CHECK(call.start >= end && call.end > call.start && call.end <= length);
            CHECK(text[call.end - 1] == ')');
            /* From its first byte on, the call is a name's token, not the middle of one. */
            struct cql_lexer lexer = cql_lexer_over(text + call.start, call.end - call.start);
            struct cql_token first = cql_lexer_next(&lexer);
            CHECK(first.kind == CQL_TOKEN_WORD || first.kind == CQL_TOKEN_QUOTED_NAME);
            end = call.end;
            calls++;
        }
    }
    CHECK(calls == 0 ||
          (functions_may_be_in(text, length) && classify_statement(text, length, "").may_call));
    CHECK(functions_write(text, length, &maker, &literals, &counts));
    CHECK(total(&counts) == calls && counts.left == 0 && (literals.length > 0) == (calls > 0));
    if (calls > 0) {
        CHECK(
            functions_write((const char *)literals.data, literals.length, &maker, &twice, &again));
        CHECK(total(&again) == 0 && twice.length == 0);
    }
    CHECK(functions_write(text, length, NULL, &markers, &counts));
    CHECK(total(&counts) + counts.left == calls);
    if (total(&counts) > 0) {
        CHECK(functions_write((const char *)markers.data, markers.length, NULL, &twice, &again));
        CHECK(total(&again) == 0 && again.left == counts.left && twice.length == 0);
    } else {
        CHECK(markers.length == 0);
    }
    dynbuf_fini(&literals);
    dynbuf_fini(&markers);
    dynbuf_fini(&twice);
}

static void check_metadata(uint8_t version, uint32_t expected, const uint8_t *body, size_t length)
{
    struct dynbuf out;
    struct function_plan *plan = NULL;
    dynbuf_init(&out, 1 << 22);
    if (functions_strip_metadata(version, body, length, expected, &out, &plan)) {
        CHECK(plan->count == expected && out.length < length);
        for (size_t i = 1; i < plan->count; i++)
            CHECK(plan->slots[i].position > plan->slots[i - 1].position);
    } else {
        CHECK(plan == NULL);
    }
    free(plan);
    dynbuf_fini(&out);
}

struct walk {
    size_t at;
    size_t length;
    size_t added;
};

static bool note(void *context, size_t offset, size_t removed, const void *bytes, size_t length)
{
    struct walk *walk = context;
    CHECK(bytes != NULL && length > 0);
    CHECK(offset >= walk->at && offset + removed <= walk->length);
    walk->at = offset + removed;
    walk->added += length;
    return true;
}

static void check_values(uint8_t flags, const uint8_t *body, size_t length)
{
    size_t count = (size_t)(flags >> 2 & 7) + 1;
    struct function_plan *plan = malloc(sizeof *plan + count * sizeof plan->slots[0]);
    struct function_counts counts;
    struct walk walk = {.length = length};
    CHECK(plan != NULL);
    plan->count = (uint16_t)count;
    for (size_t i = 0; i < count; i++)
        plan->slots[i] = (struct function_slot){.position = (uint16_t)(2 * i + (flags >> 5)),
                                                .kind = (uint8_t)(i % FUNCTION_KIND_COUNT)};
    if (functions_insert_values(plan, body, cql_cursor_over(body, length), (flags & 1) != 0,
                                (flags & 2) != 0, &maker, note, &walk, &counts))
        CHECK(total(&counts) == count);
    free(plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t versions[] = {3, 4, 5, 0x41, 0x42};
    if (size < 2)
        return 0;
    size_t length = size - 2;
    uint8_t *bytes = malloc(length + (length == 0));
    CHECK(bytes != NULL);
    memcpy(bytes, data + 2, length);
    switch (data[0] % 4) {
    case 0:
        check_metadata(versions[data[1] % sizeof versions], data[1] >> 5, bytes, length);
        break;
    case 1:
        check_values(data[1], bytes, length);
        break;
    default:
        check_text((const char *)bytes, length);
        break;
    }
    free(bytes);
    return 0;
}
