/* Bodies of requests, read whole and parsed strictly. On civetweb's threads. Must never quote a
 * body back: it may hold a token. */
#include "controlplane/json_body.h"

#include <openssl/crypto.h>
#include <string.h>
#include <strings.h>

#define VALUES_MAX 64

const char *const json_body_plain[] = {"application/json", NULL};
const char *const json_body_merge_patch[] = {"application/json", "application/merge-patch+json",
                                             NULL};

static bool has_type(const struct http_request *request, const char *const *types)
{
    const char *type = http_header(request, "Content-Type");
    for (; type != NULL && *types != NULL; types++) {
        size_t length = strlen(*types);
        if (strncasecmp(type, *types, length) == 0 && strchr("; \t", type[length]) != NULL)
            return true; /* strchr also finds the end of the text */
    }
    return false;
}

static void refuse_type(const struct http_request *request, const char *const *types,
                        struct http_response *response)
{
    struct dynbuf detail, list;
    dynbuf_init(&detail, 256);
    dynbuf_init(&list, 256);
    dynbuf_append_text(&detail, "Content-Type must be ");
    for (size_t i = 0; types[i] != NULL; i++) {
        dynbuf_printf(&detail, "%s%s", i == 0 ? "" : " or ", types[i]);
        dynbuf_printf(&list, "%s%s", i == 0 ? "" : ", ", types[i]);
    }
    http_problem(response, 415, dynbuf_text(&detail), NULL);
    if (strcmp(request->method, "PATCH") == 0)
        http_add_header(response, "Accept-Patch", dynbuf_text(&list));
    dynbuf_fini(&detail);
    dynbuf_fini(&list);
}

bool json_body_text(const struct http_request *request, const char *const *types,
                    struct dynbuf *body, struct http_response *response)
{
    dynbuf_init(body, HTTP_BODY_MAX);
    if (!has_type(request, types)) {
        refuse_type(request, types, response);
        return false;
    }
    return http_read_body(request, body, response);
}

void json_body_refuse(const struct routing_problem *problem, struct http_response *response)
{
    bool has_member = problem->status == 422 || problem->pointer[0] != '\0';
    http_problem(response, problem->status, problem->detail, has_member ? problem->pointer : NULL);
}

struct json_document *json_body_read(const struct http_request *request,
                                     struct http_response *response)
{
    struct json_document *document = NULL;
    struct routing_problem problem;
    struct json_error error;
    struct dynbuf body;
    if (json_body_text(request, json_body_plain, &body, response)) {
        document = json_parse(dynbuf_text(&body), body.length, VALUES_MAX, &error);
        if (document == NULL) {
            (void)routing_fail_json(&problem, &error);
            json_body_refuse(&problem, response);
        } else if (json_type(json_root(document)) != JSON_OBJECT) {
            http_problem(response, 422, "the body must be an object", "");
            json_free(document);
            document = NULL;
        }
    }
    if (body.data != NULL)
        OPENSSL_cleanse(body.data, body.length);
    dynbuf_fini(&body);
    return document;
}

bool json_body_only(const struct json_value *object, const char *const *names,
                    struct http_response *response)
{
    char pointer[ROUTING_POINTER_SIZE];
    size_t length;
    for (const struct json_value *value = json_first(object); value != NULL;
         value = json_next(value)) {
        const char *const *known = names;
        const char *name = json_name(value, &length);
        while (*known != NULL && (strlen(*known) != length ||
                                  memcmp(*known, name, length) != 0)) /* it may hold NULs */
            known++;
        if (*known == NULL) {
            routing_name_pointer(pointer, sizeof pointer, name, length);
            http_problem(response, 422, "the body has a member this path does not know", pointer);
            return false;
        }
    }
    return true;
}
