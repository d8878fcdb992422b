/* The statement scanner. Properties: it never reads outside the text; names are consistent; what
 * stands before the statement (blanks, comments) and blanks after it change nothing. */
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "proto/cql_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_name(const struct cql_name *name)
{
    CHECK(name->text[name->length] == '\0');
}

static void check_same(const struct cql_scan *a, const struct cql_scan *b)
{
    CHECK(a->statement == b->statement && a->is_conditional == b->is_conditional);
    CHECK(a->has_table == b->has_table && a->has_keyspace == b->has_keyspace);
    CHECK(a->table.length == b->table.length && a->keyspace.length == b->keyspace.length);
    CHECK(memcmp(a->table.text, b->table.text, a->table.length) == 0);
    CHECK(memcmp(a->keyspace.text, b->keyspace.text, a->keyspace.length) == 0);
}

/* The text between prefix and suffix, scanned from a heap block of its exact size. */
static struct cql_scan scan_between(const char *prefix, const uint8_t *data, size_t size,
                                    const char *suffix)
{
    size_t before = strlen(prefix), after = strlen(suffix);
    char *text = malloc(before + size + after + (before + size + after == 0));
    CHECK(text != NULL);
    memcpy(text, prefix, before);
    if (size > 0)
        memcpy(text + before, data, size);
    memcpy(text + before + size, suffix, after);
    struct cql_scan scan;
    cql_scan(text, before + size + after, &scan);
    free(text);
    return scan;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cql_scan plain = scan_between("", data, size, "");
    check_name(&plain.table);
    check_name(&plain.keyspace);
    CHECK(!plain.has_table || plain.statement == CQL_STATEMENT_SELECT);
    CHECK(!plain.has_keyspace || plain.has_table);
    CHECK(!plain.is_conditional ||
          (plain.statement >= CQL_STATEMENT_INSERT && plain.statement <= CQL_STATEMENT_BATCH));

    struct cql_scan spaced = scan_between(" \t\r\n", data, size, "");
    struct cql_scan commented = scan_between("-- x\n// y\n/* z */", data, size, "");
    struct cql_scan trailed = scan_between("", data, size, " \n");
    check_same(&plain, &spaced);
    check_same(&plain, &commented);
    check_same(&plain, &trailed);
    return 0;
}
