/* The audit log on the command line: taken out in whole, checked row by row. Memory is bounded by a
 * row; nothing is believed of a file or an answer that the chain of hashes does not show. */
#include "controlplane/ctl/audit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "controlplane/audit_chain.h"

struct check {
    struct audit_chain chain;
    struct dynbuf line; /* what came after the last newline */
    bool is_printed;
    bool is_whole;
    char error[256];
};

static bool check_begin(struct check *check, const struct options *options, bool is_printed)
{
    *check = (struct check){.is_printed = is_printed, .is_whole = true};
    audit_chain_init(&check->chain);
    dynbuf_init(&check->line, AUDIT_LINE_MAX);
    return options->expect == NULL || audit_chain_expect(&check->chain, options->expect);
}

/* The first row that does not fit is the one that is told; what comes after it is still printed. */
static void take_line(struct check *check, const char *line, size_t length)
{
    if (check->is_printed) {
        fwrite(line, 1, length, stdout);
        putchar('\n');
    }
    check->is_whole = check->is_whole && audit_chain_take(&check->chain, line, length, check->error,
                                                          sizeof check->error);
}

static bool take_bytes(void *context, const void *bytes, size_t length)
{
    struct check *check = context;
    const char *at = bytes, *end = at + length;
    for (const char *newline; (newline = memchr(at, '\n', (size_t)(end - at))) != NULL;
         at = newline + 1) {
        if (!dynbuf_append(&check->line, at, (size_t)(newline - at)))
            break;
        take_line(check, dynbuf_text(&check->line), check->line.length);
        dynbuf_reset(&check->line);
    }
    if (dynbuf_append(&check->line, at, (size_t)(end - at)))
        return true;
    fprintf(stderr, "cloudgatectl: a line is longer than a row of an audit log can be\n");
    return false;
}

/* The verdict in words. what: of which rows it is. */
static enum exit_code check_end(struct check *check, const char *what)
{
    if (check->line.length > 0) /* a last line without its newline is one that was cut */
        take_line(check, dynbuf_text(&check->line), check->line.length);
    dynbuf_fini(&check->line);
    bool is_whole =
        check->is_whole && audit_chain_finish(&check->chain, check->error, sizeof check->error);
    if (!is_whole)
        fprintf(stderr, "cloudgatectl: %s: the audit log is not whole: %s\n", what, check->error);
    else if (check->chain.entries == 0)
        fprintf(stderr, "cloudgatectl: %s: no row\n", what);
    else
        fprintf(check->is_printed ? stderr : stdout,
                "%s: the audit log is whole: rows %" PRIu64 " to %" PRIu64 ", head %" PRIu64
                ":%s\n",
                what, check->chain.last_id - check->chain.entries + 1, check->chain.last_id,
                check->chain.last_id, check->chain.hash);
    return is_whole ? EXIT_GOOD : EXIT_REFUSED;
}

/* A row's id, or a time of UTC, as a query. */
static bool write_since(const char *since, char *query, size_t query_size)
{
    static const char *const forms[] = {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%SZ", "%Y-%m-%d"};
    query[0] = '\0';
    if (since == NULL)
        return true;
    size_t length = strlen(since);
    if (length > 0 && length <= 18 && strspn(since, "0123456789") == length) {
        snprintf(query, query_size, "?after=%s", since);
        return true;
    }
    for (size_t i = 0; i < ARRAY_COUNT(forms); i++) {
        struct tm parts = {0};
        const char *end = strptime(since, forms[i], &parts);
        if (end != NULL && *end == '\0' && timegm(&parts) >= 0) {
            snprintf(query, query_size, "?since_ms=%lld", (long long)timegm(&parts) * 1000);
            return true;
        }
    }
    return false;
}

enum exit_code ctl_audit_export(const struct options *options)
{
    char query[64], path[128];
    struct check check;
    if (options->count > 2)
        return ctl_usage("one word too many", options->words[2]);
    if (!write_since(options->since, query, sizeof query))
        return ctl_usage("--since needs a row's id or a time such as 2026-01-31T00:00:00Z",
                         options->since);
    if (!check_begin(&check, options, true))
        return ctl_usage("--expect needs ID:HASH", options->expect);
    snprintf(path, sizeof path, "/api/v1/audit/export%s", query);
    enum exit_code code = ctl_download(options, "GET", path, take_bytes, &check);
    enum exit_code verdict = code == EXIT_GOOD ? check_end(&check, "export") : code;
    if (code != EXIT_GOOD)
        dynbuf_fini(&check.line);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "cloudgatectl: cannot write: %s\n", strerror(errno));
        return EXIT_REFUSED;
    }
    return verdict;
}

static enum exit_code verify_file(const struct options *options, const char *path)
{
    char bytes[16384];
    struct check check;
    if (!check_begin(&check, options, false))
        return ctl_usage("--expect needs ID:HASH", options->expect);
    FILE *file = fopen(path, "re");
    bool good = file != NULL;
    while (good && !feof(file)) {
        size_t got = fread(bytes, 1, sizeof bytes, file);
        good = !ferror(file) && take_bytes(&check, bytes, got);
    }
    if (file == NULL || ferror(file))
        fprintf(stderr, "cloudgatectl: %s: %s\n", path, strerror(errno));
    if (file != NULL)
        fclose(file);
    if (good)
        return check_end(&check, path);
    dynbuf_fini(&check.line);
    return EXIT_REFUSED;
}

static bool take_answer(void *context, const void *bytes, size_t length)
{
    return dynbuf_append(context, bytes, length);
}

static enum exit_code verify_there(const struct options *options)
{
    char path[160];
    struct audit_chain chain;
    struct dynbuf body;
    struct json_error problem;
    bool is_whole = false;
    audit_chain_init(&chain);
    if (options->expect != NULL && !audit_chain_expect(&chain, options->expect))
        return ctl_usage("--expect needs ID:HASH", options->expect);
    snprintf(
        path, sizeof path, "/api/v1/audit/verify%s%s",
        options->expect == NULL ? "" : "?expect=", options->expect == NULL ? "" : options->expect);
    dynbuf_init(&body, 65536);
    enum exit_code code = ctl_download(options, "GET", path, take_answer, &body);
    struct json_document *document =
        code == EXIT_GOOD ? json_parse(dynbuf_text(&body), body.length, 100, &problem) : NULL;
    const struct json_value *root = document == NULL ? NULL : json_root(document);
    const struct json_value *head = json_member(root, "head");
    if (code == EXIT_GOOD && !json_bool(json_member(root, "whole"), &is_whole)) {
        fprintf(stderr, "cloudgatectl: the answer is no verdict\n");
        code = EXIT_REFUSED;
    } else if (code == EXIT_GOOD && options->json) {
        fwrite(body.data, 1, body.length, stdout);
        putchar('\n');
    } else if (code == EXIT_GOOD && is_whole) {
        printf("the audit log is whole: ");
        ctl_put_member(root, "entries", "?");
        printf(" rows, head ");
        ctl_put_member(head, "id", "?");
        putchar(':');
        ctl_put_member(head, "hash", "?");
        putchar('\n');
    } else if (code == EXIT_GOOD) {
        size_t length = 0;
        const char *detail = json_text(json_member(root, "detail"), &length);
        fprintf(stderr, "cloudgatectl: the audit log is not whole: %.*s\n", (int)length,
                detail == NULL ? "" : detail);
    }
    json_free(document);
    dynbuf_fini(&body);
    return code == EXIT_GOOD && !is_whole ? EXIT_REFUSED : code;
}

enum exit_code ctl_audit_verify(const struct options *options)
{
    if (options->count > 3)
        return ctl_usage("one word too many", options->words[3]);
    return options->count == 3 ? verify_file(options, options->words[2]) : verify_there(options);
}
