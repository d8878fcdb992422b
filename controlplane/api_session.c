/* GET, POST and DELETE /api/v1/session: log-in, who am I, log-out. On civetweb's threads. Must
 * never repeat the token it was shown. */
#include <string.h>

#include "common/clock.h"
#include "controlplane/http.h"
#include "controlplane/json_body.h"

static void set_cookie(const struct http_request *request, struct http_response *response,
                       const char *value, bool is_end)
{
    char text[256];
    snprintf(text, sizeof text, "%s=%s; Path=/; HttpOnly; SameSite=Strict%s%s",
             access_cookie_name(request->is_tls), value, request->is_tls ? "; Secure" : "",
             is_end ? "; Max-Age=0" : "");
    http_add_header(response, "Set-Cookie", text);
}

static void put_seconds(struct json_writer *writer, const char *name, uint64_t end_ns)
{
    uint64_t now_ns = clock_now_ns();
    json_put_u64(writer, name, end_ns > now_ns ? (end_ns - now_ns) / NS_PER_S : 0);
}

/* Who it is and what they may; for a log-in also the CSRF token and what is left of its time. */
static void write_caller(const struct access_caller *caller, struct http_response *response)
{
    struct json_writer writer;
    json_writer_init(&writer, &response->body);
    json_begin_object(&writer);
    json_put_string(&writer, "actor", caller->actor);
    json_put_string(&writer, "role", role_name(caller->role));
    json_write_name(&writer, "token_expires_ms");
    if (caller->expires_ms == 0)
        json_write_null(&writer);
    else
        json_write_i64(&writer, caller->expires_ms);
    if (caller->session_id[0] != '\0') {
        json_put_string(&writer, "csrf_token", caller->session.csrf);
        put_seconds(&writer, "idle_seconds", caller->session.idle_end_ns);
        put_seconds(&writer, "remaining_seconds", caller->session.end_ns);
    }
    json_end_object(&writer);
}

void api_get_session(const struct http_request *request, struct http_response *response)
{
    struct access_caller caller;
    struct access_refusal refusal;
    bool is_known =
        access_check(request->access, request->access_request, ROLE_VIEWER, &caller, &refusal);
    /* A page that asks whether it has to log in is answered, not refused. */
    if (is_known || (refusal.status == 401 && !refusal.is_token_bad))
        write_caller(&caller, response);
    else
        http_refuse(response, &refusal);
}

void api_post_session(const struct http_request *request, struct http_response *response)
{
    static const char *const names[] = {"token", NULL};
    struct access_caller caller;
    struct access_refusal refusal;
    size_t length;
    struct json_document *document = json_body_read(request, response);
    if (document == NULL)
        return;
    const struct json_value *root = json_root(document);
    const struct json_value *member = json_member(root, "token");
    const char *token = json_type(member) == JSON_STRING ? json_text(member, &length) : NULL;
    if (!json_body_only(root, names, response)) {
        /* response holds the problem */
    } else if (token == NULL) {
        http_problem(response, 422, "the log-in needs the member `token`, a text", "/token");
    } else if (!access_log_in(request->access, request->access_request, token, length, &caller,
                              &refusal)) {
        http_refuse(response, &refusal);
    } else {
        set_cookie(request, response, caller.session_id, false);
        write_caller(&caller, response);
    }
    json_free(document);
}

void api_delete_session(const struct http_request *request, struct http_response *response)
{
    if (request->caller->session_id[0] == '\0') {
        http_problem(response, 409,
                     "this request has no log-in to end: it came with a token or over "
                     "the local socket",
                     NULL);
        return;
    }
    access_log_out(request->access, request->caller);
    set_cookie(request, response, "", true);
    response->status = 204;
}
