/* The dashboard's files, inside the program: nothing is read from disk at run time. On civetweb's
 * threads; constant after the first request. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "controlplane/http.h"

/* The assembler reads the files of web/ (its directory is on the include path) into read-only data.
 */
#define EMBED(symbol, file)                                                                        \
    __asm__(".pushsection .rodata\n"                                                               \
            ".balign 16\n"                                                                         \
            ".global " #symbol "\n" #symbol ":\n"                                                  \
            ".incbin \"" WEB_DIRECTORY "/" file "\"\n"                                             \
            ".global " #symbol "_end\n" #symbol "_end:\n"                                          \
            ".byte 0\n"                                                                            \
            ".popsection\n");                                                                      \
    extern const char symbol[] __attribute__((visibility("hidden")));                              \
    extern const char symbol##_end[] __attribute__((visibility("hidden")))

EMBED(page_file_index, "index.html");
EMBED(page_file_script, "app.js");
EMBED(page_file_style, "style.css");

struct page_file {
    const char *begin;
    const char *end;
    const char *content_type;
    char etag[36];
};

static struct page_file index_file = {page_file_index, page_file_index_end,
                                      "text/html; charset=utf-8", ""};
static struct page_file script_file = {page_file_script, page_file_script_end,
                                       "text/javascript; charset=utf-8", ""};
static struct page_file style_file = {page_file_style, page_file_style_end,
                                      "text/css; charset=utf-8", ""};
static pthread_once_t tags_once = PTHREAD_ONCE_INIT;

/* FNV-1a over the content: a tag tells versions of our own files apart, it need not resist anyone.
 */
static void tag(struct page_file *file)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (const char *at = file->begin; at < file->end; at++)
        hash = (hash ^ (unsigned char)*at) * UINT64_C(0x100000001b3);
    snprintf(file->etag, sizeof file->etag, "\"%016llx\"", (unsigned long long)hash);
}

static void tag_all(void)
{
    tag(&index_file);
    tag(&script_file);
    tag(&style_file);
}

static void serve(const struct page_file *file, const struct http_request *request,
                  struct http_response *response)
{
    pthread_once(&tags_once, tag_all);
    const char *if_none_match = http_header(request, "If-None-Match");
    http_add_header(response, "ETag", file->etag);
    http_add_header(response, "Cache-Control", "no-cache");
    response->content_type = file->content_type;
    if (if_none_match != NULL && strstr(if_none_match, file->etag) != NULL)
        response->status = 304;
    else
        dynbuf_append(&response->body, file->begin, (size_t)(file->end - file->begin));
}

void page_index(const struct http_request *request, struct http_response *response)
{
    serve(&index_file, request, response);
}

void page_script(const struct http_request *request, struct http_response *response)
{
    serve(&script_file, request, response);
}

void page_style(const struct http_request *request, struct http_response *response)
{
    serve(&style_file, request, response);
}
