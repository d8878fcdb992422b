/* The statement scanner. Properties: it never reads outside the text; names are consistent; what
 * stands before the statement (blanks, comments) and blanks after it change nothing; the way past
 * what nobody asks for meets the same words as the way token by token. */
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "proto/cql_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The next word outside brackets and behind no point, token by token: what cql_lexer_next_word says
 * without them. Groups of a UUID are no words here. */
static bool next_word(struct cql_lexer *lexer, struct cql_token *word)
{
    size_t depth = 0;
    bool is_after_point = false;
    for (;;) {
        struct cql_token token = cql_lexer_next(lexer);
        if (token.kind == CQL_TOKEN_END || token.kind == CQL_TOKEN_UNTERMINATED)
            return false;
        if (token.kind == CQL_TOKEN_WORD && depth == 0 && !is_after_point) {
            *word = token;
            return true;
        }
        if (token.kind == CQL_TOKEN_SYMBOL && token.text[0] != '\0') {
            if (strchr("([{", token.text[0]) != NULL)
                depth++;
            else if (strchr(")]}", token.text[0]) != NULL && depth > 0)
                depth--;
        }
        is_after_point = cql_token_is_symbol(token, '.');
    }
}

static bool is_hexadecimal(struct cql_token word)
{
    for (size_t i = 0; i < word.length; i++) {
        if (strchr("0123456789abcdefABCDEF", word.text[i]) == NULL || word.text[i] == '\0')
            return false;
    }
    return true;
}

static void check_words(const char *text, size_t length)
{
    struct cql_lexer slow = cql_lexer_over(text, length), fast = slow;
    struct cql_token expected, word;
    for (;;) {
        bool is_there = next_word(&slow, &expected);
        bool is_found = cql_lexer_next_word(&fast, &word);
        while (is_found && is_hexadecimal(word) && (!is_there || word.text < expected.text))
            is_found = cql_lexer_next_word(&fast, &word);
        CHECK(is_found == is_there);
        if (!is_there)
            return;
        CHECK(word.kind == expected.kind && word.text == expected.text &&
              word.length == expected.length);
    }
}

/* A name of a SELECT, as it is compared; empty when there is none. */
static void read_name(bool is_there, struct cql_token token, struct cql_name *name)
{
    *name = (struct cql_name){0};
    if (is_there)
        cql_scan_name(token, name);
    CHECK(name->text[name->length] == '\0');
}

struct scanned {
    struct cql_scan scan;
    struct cql_name keyspace, table;
};

static void check_same_name(const struct cql_name *a, const struct cql_name *b)
{
    CHECK(a->length == b->length && a->is_quoted == b->is_quoted);
    CHECK(memcmp(a->text, b->text, a->length) == 0);
}

static void check_same(const struct scanned *a, const struct scanned *b)
{
    CHECK(a->scan.statement == b->scan.statement);
    CHECK(a->scan.is_conditional == b->scan.is_conditional);
    CHECK(a->scan.has_timestamp == b->scan.has_timestamp);
    CHECK(a->scan.has_table == b->scan.has_table);
    CHECK(a->scan.has_keyspace == b->scan.has_keyspace);
    check_same_name(&a->table, &b->table);
    check_same_name(&a->keyspace, &b->keyspace);
}

/* The text between prefix and suffix, scanned from a heap block of its exact size. */
static struct scanned scan_between(const char *prefix, const uint8_t *data, size_t size,
                                   const char *suffix)
{
    size_t before = strlen(prefix), after = strlen(suffix);
    char *text = malloc(before + size + after + (before + size + after == 0));
    CHECK(text != NULL);
    memcpy(text, prefix, before);
    if (size > 0)
        memcpy(text + before, data, size);
    memcpy(text + before + size, suffix, after);
    struct scanned scanned;
    cql_scan(text, before + size + after, &scanned.scan);
    read_name(scanned.scan.has_keyspace, scanned.scan.keyspace, &scanned.keyspace);
    read_name(scanned.scan.has_table, scanned.scan.table, &scanned.table);
    check_words(text, before + size + after);
    free(text);
    return scanned;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct scanned plain = scan_between("", data, size, "");
    const struct cql_scan *scan = &plain.scan;
    CHECK(!scan->has_table || scan->statement == CQL_STATEMENT_SELECT);
    CHECK(!scan->has_keyspace || scan->has_table);
    CHECK(!scan->is_conditional ||
          (scan->statement >= CQL_STATEMENT_INSERT && scan->statement <= CQL_STATEMENT_BATCH));

    struct scanned spaced = scan_between(" \t\r\n", data, size, "");
    struct scanned commented = scan_between("-- x\n// y\n/* z */", data, size, "");
    struct scanned trailed = scan_between("", data, size, " \n");
    check_same(&plain, &spaced);
    check_same(&plain, &commented);
    check_same(&plain, &trailed);
    return 0;
}
