/* GET, POST /api/v1/tokens and DELETE /api/v1/tokens/{name}, for admins. On civetweb's threads. The
 * text of a new token is in one answer and nowhere else. */
#include <openssl/crypto.h>
#include <string.h>

#include "common/clock.h"
#include "controlplane/http.h"
#include "controlplane/json_body.h"

#define LIFETIME_DEFAULT_S (90 * 86400)
#define LIFETIME_MAX_S     (10LL * 366 * 86400)

void api_get_tokens(const struct http_request *request, struct http_response *response)
{
    struct json_writer writer;
    json_writer_init(&writer, &response->body);
    json_begin_object(&writer);
    json_write_name(&writer, "tokens");
    json_begin_array(&writer);
    tokens_write(access_tokens(request->access), clock_wall_ms(), &writer);
    json_end_array(&writer);
    json_end_object(&writer);
}

/* false: response holds the problem. */
static bool read_row(const struct json_value *root, struct token_row *row,
                     struct http_response *response)
{
    static const char *const names[] = {"name", "role", "expires_in_seconds", NULL};
    const struct json_value *name = json_member(root, "name");
    const struct json_value *role = json_member(root, "role");
    const struct json_value *lifetime = json_member(root, "expires_in_seconds");
    size_t length = 0;
    int64_t seconds = LIFETIME_DEFAULT_S;
    const char *text = json_type(name) == JSON_STRING ? json_text(name, &length) : NULL;
    *row = (struct token_row){.created_ms = clock_wall_ms()};
    if (!json_body_only(root, names, response))
        return false;
    if (text == NULL || !token_name_is_good(text, length)) {
        http_problem(response, 422,
                     "name must be 1 to 64 letters, digits, dots, underscores or hyphens", "/name");
        return false;
    }
    snprintf(row->name, sizeof row->name, "%s", text);
    text = json_type(role) == JSON_STRING ? json_text(role, &length) : "";
    if (!role_parse(text, &row->role) || strlen(text) != length) {
        http_problem(response, 422, "role must be viewer, operator or admin", "/role");
        return false;
    }
    if (lifetime != NULL && json_type(lifetime) == JSON_NULL)
        return true; /* never expires */
    if (lifetime != NULL &&
        (!json_i64(lifetime, &seconds) || seconds < 1 || seconds > LIFETIME_MAX_S)) {
        http_problem(response, 422,
                     "expires_in_seconds must be a number from 1 to 316224000, or null for never",
                     "/expires_in_seconds");
        return false;
    }
    row->expires_ms = row->created_ms + seconds * 1000;
    return true;
}

static void answer_created(const struct token_row *row, const char *text,
                           struct http_response *response)
{
    struct json_writer writer;
    response->status = 201;
    json_writer_init(&writer, &response->body);
    json_begin_object(&writer);
    tokens_write_one(row, row->created_ms, &writer);
    json_put_string(&writer, "token", text);
    json_end_object(&writer);
}

void api_post_tokens(const struct http_request *request, struct http_response *response)
{
    struct token_row row;
    char text[TOKEN_GIVEN_MAX + 1] = "";
    char error[256] = "";
    char agent[HTTP_AGENT_SIZE];
    struct store_actor actor = http_actor(request, agent);
    struct json_document *document = json_body_read(request, response);
    if (document == NULL)
        return;
    if (read_row(json_root(document), &row, response)) {
        switch (tokens_create(access_tokens(request->access), &row, NULL, &actor, text, error,
                              sizeof error)) {
        case TOKENS_GOOD:
            answer_created(&row, text, response);
            break;
        case TOKENS_NAME_TAKEN:
            http_problem(response, 409, "there is a token of this name; revoke it first", "/name");
            break;
        case TOKENS_FULL:
            http_problem(response, 409, "there are 256 tokens already; revoke some", NULL);
            break;
        case TOKENS_UNKNOWN:
        case TOKENS_EXPIRED:
        case TOKENS_FAILED:
            http_problem(response, 503, error, NULL);
            break;
        }
    }
    OPENSSL_cleanse(text, sizeof text);
    json_free(document);
}

void api_delete_token(const struct http_request *request, struct http_response *response)
{
    char error[256] = "";
    char agent[HTTP_AGENT_SIZE];
    struct store_actor actor = http_actor(request, agent);
    switch (tokens_revoke(access_tokens(request->access), request->parameter, &actor, error,
                          sizeof error)) {
    case TOKENS_GOOD:
        response->status = 204;
        break;
    case TOKENS_UNKNOWN:
        http_problem(response, 404, "there is no token of this name", NULL);
        break;
    case TOKENS_EXPIRED:
    case TOKENS_NAME_TAKEN:
    case TOKENS_FULL:
    case TOKENS_FAILED:
        http_problem(response, 503, error, NULL);
        break;
    }
}
