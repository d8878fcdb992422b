/* Replaced functions in the requests of a session: what functions.h says, done to the request at
 * hand. */
#pragma once

#include "common/check.h"
#include "dataplane/dispatch.h"
#include "dataplane/functions.h"
#include "dataplane/preparation.h"

struct worker;

/* Whether calls are replaced in statements that come now. The one place that is asked; what was
 * prepared with replaced calls goes on working in either case. */
bool functions_use_is_on(const struct worker *worker);

/* A QUERY's text or a BATCH child's, of length bytes at offset of the plain body: calls become
 * literals. */
void functions_use_text(struct dispatch *dispatch, uint32_t offset, size_t length);

/* A PREPARE's text at offset: calls become markers. *text becomes the text that is prepared, which
 * lives as long as the request's edits. Returns how many markers were put in. */
uint32_t functions_use_prepare(struct dispatch *dispatch, uint32_t offset, struct cql_span *text);

/* An EXECUTE of a statement with a plan: values for its markers. rest: behind the flags. false: the
 * client's values break the protocol. */
MUST_CHECK bool functions_use_execute(struct dispatch *dispatch, const struct function_plan *plan,
                                      struct cql_cursor rest);
/* The same for a prepared child of a BATCH. */
MUST_CHECK bool functions_use_child(struct dispatch *dispatch, const struct function_plan *plan,
                                    const struct cql_batch_child *child);

/* The origin's answer to such a PREPARE, as the client may see it: a whole frame, in frame, made
 * from the plain header and body. *plan: of the values to put in later, malloc'd. false: the answer
 * is not what the statement calls for. */
MUST_CHECK bool functions_use_prepared(struct cql_header header, const uint8_t *body,
                                       uint32_t markers, struct dynbuf *frame,
                                       struct function_plan **plan);
