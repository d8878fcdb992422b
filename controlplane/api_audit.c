/* The audit log over REST: a page of it, all of it, and whether it is whole. On civetweb's threads;
 * memory is bounded by a page, however long the log is. */
#include "common/json.h"
#include "controlplane/http.h"

#define AUDIT_LIMIT     50
#define AUDIT_LIMIT_MAX 1000
#define LINES_MAX       (4u * 1024u * 1024u)

static void write_head(const struct store_audit_head *head, struct json_writer *writer)
{
    json_write_name(writer, "head");
    json_begin_object(writer);
    json_put_u64(writer, "id", head->id);
    json_put_string(writer, "hash", head->hash);
    json_end_object(writer);
}

void api_get_audit(const struct http_request *request, struct http_response *response)
{
    struct json_writer writer;
    unsigned long long limit, before;
    char error[512];
    struct store_audit_head head;
    if (!http_query_number(request, "limit", 1, AUDIT_LIMIT_MAX, AUDIT_LIMIT, &limit)) {
        http_problem(response, 400, "limit must be a number from 1 to 1000", NULL);
        return;
    }
    if (!http_query_number(request, "before", 1, INT64_MAX, 0, &before)) {
        http_problem(response, 400, "before must be the id of an entry", NULL);
        return;
    }
    json_writer_init(&writer, &response->body);
    json_begin_object(&writer);
    json_write_name(&writer, "entries");
    json_begin_array(&writer);
    if (!store_write_audit(plane_store(request->plane), (unsigned)limit, before, &writer, error,
                           sizeof error)) {
        http_problem(response, 503, error, NULL);
        return;
    }
    json_end_array(&writer);
    store_audit_head(plane_store(request->plane), &head);
    write_head(&head, &writer);
    json_end_object(&writer);
}

/* Where the export begins, by after or since_ms. false: the problem is in response. */
static bool find_begin(const struct http_request *request, struct store_audit_cursor *cursor,
                       struct http_response *response)
{
    unsigned long long after, since_ms;
    char error[512];
    *cursor = (struct store_audit_cursor){0};
    if (!http_query_number(request, "after", 0, INT64_MAX, 0, &after)) {
        http_problem(response, 400, "after must be the id of an entry", NULL);
        return false;
    }
    if (!http_query_number(request, "since_ms", 0, INT64_MAX, 0, &since_ms)) {
        http_problem(response, 400, "since_ms must be milliseconds since 1970", NULL);
        return false;
    }
    if (since_ms > 0 && !store_audit_seek(plane_store(request->plane), (int64_t)since_ms, cursor,
                                          error, sizeof error)) {
        http_problem(response, 503, error, NULL);
        return false;
    }
    if (cursor->after_id < after)
        cursor->after_id = after;
    return true;
}

void api_get_audit_export(const struct http_request *request, struct http_response *response)
{
    static const char type[] = "application/x-ndjson";
    struct store_audit_cursor cursor;
    struct dynbuf lines;
    char error[512];
    if (!find_begin(request, &cursor, response))
        return;
    if (request->method[0] == 'H') { /* HEAD: the length is not known */
        response->content_type = type;
        return;
    }
    dynbuf_init(&lines, LINES_MAX);
    /* The first page before the head: what fails now is still said by a status. */
    bool good = store_audit_page(plane_store(request->plane), &cursor, &lines, error, sizeof error);
    if (!good)
        http_problem(response, 503, error, NULL);
    else
        http_add_header(response, "Content-Disposition", "attachment; filename=\"audit.jsonl\"");
    if (good && http_download_begin(request, response, type, -1)) {
        good = http_download_send(request, dynbuf_text(&lines), lines.length);
        while (good && !cursor.is_done) {
            dynbuf_reset(&lines);
            good = !plane_is_closing(request->plane) &&
                   store_audit_page(plane_store(request->plane), &cursor, &lines, error,
                                    sizeof error) &&
                   http_download_send(request, dynbuf_text(&lines), lines.length);
        }
        http_download_end(request, good);
    }
    dynbuf_fini(&lines);
}

void api_get_audit_verify(const struct http_request *request, struct http_response *response)
{
    struct store_audit_verdict verdict;
    struct audit_chain chain;
    struct json_writer writer;
    char expect[100];
    audit_chain_init(&chain);
    if (!http_query_text(request, "expect", expect, sizeof expect) ||
        http_query_is(request, "expect", "") ||
        (expect[0] != '\0' && !audit_chain_expect(&chain, expect))) {
        http_problem(response, 400,
                     "expect must be ID:HASH, a row's id and the 64 digits of its hash", NULL);
        return;
    }
    store_audit_verify(plane_store(request->plane), expect[0] == '\0' ? NULL : expect, &verdict);
    if (!verdict.was_read) {
        http_problem(response, 503, verdict.detail, NULL);
        return;
    }
    json_writer_init(&writer, &response->body);
    json_begin_object(&writer);
    json_put_bool(&writer, "whole", verdict.is_whole);
    json_put_u64(&writer, "entries", verdict.entries);
    write_head(&verdict.head, &writer);
    json_put_string(&writer, "detail", verdict.detail);
    json_end_object(&writer);
}
