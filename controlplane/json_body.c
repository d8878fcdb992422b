/* Bodies of requests, read whole and parsed strictly. On civetweb's threads. Must never quote a
 * body back: it may hold a token. */
#include "controlplane/json_body.h"

#include <openssl/crypto.h>
#include <string.h>
#include <strings.h>

#define VALUES_MAX 64

static bool has_json_type(const struct http_request *request)
{
    static const char json[] = "application/json";
    const char *type = http_header(request, "Content-Type");
    return type != NULL && strncasecmp(type, json, sizeof json - 1) == 0 &&
           strchr("; \t", type[sizeof json - 1]) != NULL; /* strchr also finds the end */
}

struct json_document *json_body_read(const struct http_request *request,
                                     struct http_response *response)
{
    struct json_document *document = NULL;
    struct json_error error;
    struct dynbuf body;
    response->close = true; /* until the body is read */
    if (!has_json_type(request)) {
        http_problem(response, 415, "Content-Type must be application/json", NULL);
        return NULL;
    }
    dynbuf_init(&body, HTTP_BODY_MAX);
    if (http_read_body(request, &body, response)) {
        response->close = false;
        document = json_parse(dynbuf_text(&body), body.length, VALUES_MAX, &error);
        if (document == NULL) {
            http_problem(response, 400, error.text, NULL);
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
    for (const struct json_value *value = json_first(object); value != NULL;
         value = json_next(value)) {
        const char *const *name = names;
        while (*name != NULL && strcmp(*name, json_name(value, NULL)) != 0)
            name++;
        if (*name == NULL) {
            http_problem(response, 422, "the body has a member this path does not know", "");
            return false;
        }
    }
    return true;
}
