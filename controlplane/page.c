/* The dashboard's files and the API's description, inside the program: nothing is read from disk at
 * run time. On civetweb's threads; constant. Must never answer a path that is not in the table made
 * by the build. */
#include <string.h>

#include "common/check.h"
#include "controlplane/http.h"

/* The assembler reads a file into read-only data. */
#define EMBED(symbol, file)                                                                        \
    __asm__(".pushsection .rodata\n"                                                               \
            ".balign 16\n"                                                                         \
            ".global page_" #symbol "\npage_" #symbol ":\n"                                        \
            ".incbin \"" file "\"\n"                                                               \
            ".global page_" #symbol "_end\npage_" #symbol "_end:\n"                                \
            ".byte 0\n"                                                                            \
            ".popsection\n");                                                                      \
    extern const char page_##symbol[] __attribute__((visibility("hidden")));                       \
    extern const char page_##symbol##_end[] __attribute__((visibility("hidden")))

#define ASSET(symbol, name, type, tag, gzip_tag, file, gzip_file)                                  \
    EMBED(symbol, file);                                                                           \
    EMBED(symbol##_gzip, gzip_file);
#include WEB_ASSETS
#undef ASSET

struct page_form {
    const char *tag;
    const char *begin;
    const char *end;
};

static const struct page_asset {
    const char *name;
    const char *content_type;
    struct page_form plain;
    struct page_form gzip;
} assets[] = {
#define ASSET(symbol, name, type, tag, gzip_tag, file, gzip_file)                                  \
    {name,                                                                                         \
     type,                                                                                         \
     {tag, page_##symbol, page_##symbol##_end},                                                    \
     {gzip_tag, page_##symbol##_gzip, page_##symbol##_gzip_end}},
#include WEB_ASSETS
#undef ASSET
};

/* Whether the client says it takes gzip; one that says `gzip;q=0` does not. */
static bool takes_gzip(const struct http_request *request)
{
    const char *accepted = http_header(request, "Accept-Encoding");
    const char *at = accepted != NULL ? strstr(accepted, "gzip") : NULL;
    if (at == NULL)
        return false;
    at += strlen("gzip");
    at += strspn(at, " \t");
    if (*at != ';')
        return *at == '\0' || *at == ',';
    at += 1 + strspn(at + 1, " \t");
    if (strncmp(at, "q=", 2) != 0)
        return false;
    at += 2 + strspn(at + 2, "0.");
    return *at >= '1' && *at <= '9';
}

static void serve(const struct page_asset *asset, const struct http_request *request,
                  struct http_response *response)
{
    bool is_gzip = takes_gzip(request);
    const struct page_form *form = is_gzip ? &asset->gzip : &asset->plain;
    const char *if_none_match = http_header(request, "If-None-Match");
    http_add_header(response, "ETag", form->tag);
    http_add_header(response, "Cache-Control", "no-cache");
    http_add_header(response, "Vary", "Accept-Encoding");
    response->content_type = asset->content_type;
    if (if_none_match != NULL && strstr(if_none_match, form->tag) != NULL) {
        response->status = 304;
        return;
    }
    if (is_gzip)
        http_add_header(response, "Content-Encoding", "gzip");
    dynbuf_append(&response->body, form->begin, (size_t)(form->end - form->begin));
}

static void serve_named(const char *name, const struct http_request *request,
                        struct http_response *response)
{
    for (size_t i = 0; i < ARRAY_COUNT(assets); i++)
        if (strcmp(assets[i].name, name) == 0) {
            serve(&assets[i], request, response);
            return;
        }
    http_problem(response, 404, "the dashboard has no such file", NULL);
}

void page_index(const struct http_request *request, struct http_response *response)
{
    serve_named("index.html", request, response);
}

void api_get_openapi(const struct http_request *request, struct http_response *response)
{
    serve_named("openapi.json", request, response);
}

void page_asset(const struct http_request *request, struct http_response *response)
{
    serve_named(request->parameter, request, response);
}
