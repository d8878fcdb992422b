/* What a control connection says. Pure; any thread. */
#include "dataplane/control_body.h"

#include <string.h>

#include "proto/cql_response.h"

#define CONSISTENCY_ONE 1

static void put_text(struct dynbuf *body, const char *text)
{
    cql_put_string(body, text, strlen(text));
}

void control_body_startup(struct dynbuf *body)
{
    cql_put_u16(body, 1);
    put_text(body, "CQL_VERSION");
    put_text(body, "3.0.0");
}

void control_body_token(struct dynbuf *body, struct cql_span token)
{
    cql_put_i32(body, (int32_t)token.length);
    dynbuf_append(body, token.data, token.length);
}

/* RFC 4616: an empty authorization identity, the user, the password. */
void control_body_credentials(struct dynbuf *body, const char *username, const char *password)
{
    cql_put_i32(body, (int32_t)(strlen(username) + strlen(password) + 2));
    dynbuf_append(body, "", 1);
    dynbuf_append_text(body, username);
    dynbuf_append(body, "", 1);
    dynbuf_append_text(body, password);
}

void control_body_register(struct dynbuf *body)
{
    cql_put_u16(body, 2);
    put_text(body, "TOPOLOGY_CHANGE");
    put_text(body, "STATUS_CHANGE");
}

void control_body_query(struct dynbuf *body, const char *text)
{
    cql_put_i32(body, (int32_t)strlen(text));
    dynbuf_append_text(body, text);
    cql_put_u16(body, CONSISTENCY_ONE);
    cql_put_u8(body, 0);
}
