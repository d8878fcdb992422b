/* Bodies of the requests a control connection sends (native protocol v3 and v4, section 4.1). Pure.
 * Each is appended to an empty buffer; a buffer that is too small says so by its failed flag. */
#pragma once

#include "common/dynbuf.h"
#include "proto/cql_cursor.h"

#define CONTROL_BODY_MAX (128u * 1024) /* what a buffer for any of them must be able to hold */

/* STARTUP without compression. */
void control_body_startup(struct dynbuf *body);
/* AUTH_RESPONSE with this token. */
void control_body_token(struct dynbuf *body, struct cql_span token);
/* AUTH_RESPONSE with user and password, SASL PLAIN. The caller wipes the buffer after use. */
void control_body_credentials(struct dynbuf *body, const char *username, const char *password);
/* REGISTER for changes of topology and status. */
void control_body_register(struct dynbuf *body);
/* QUERY at consistency ONE without values. */
void control_body_query(struct dynbuf *body, const char *text);
