/* Compressed requests of protocol v3 and v4: made plain as far as somebody looks at them. What is
 * only forwarded is not inflated: of an EXECUTE the statement's id and the flags are enough, unless
 * it is changed on the way. Runs on the session's worker. */
#pragma once

#include "common/check.h"
#include "dataplane/dispatch.h"

/* Gives a request whose frame is compressed a body: the first bytes of an EXECUTE
 * (dispatch->is_head), the whole of any other. Announced lengths are checked either way. false: it
 * cannot be; the request was answered. */
MUST_CHECK bool packed_begin(struct dispatch *dispatch);

/* Makes all of the body plain where it is but a head. The body moves: what was read from the head
 * must be read again, while offsets hold. false: it is corrupt; the request was answered. */
MUST_CHECK bool packed_open(struct dispatch *dispatch);
