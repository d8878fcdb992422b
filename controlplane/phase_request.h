/* The body of PUT /api/v1/phase. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/check.h"
#include "controlplane/change.h"

#define PHASE_REASON_MAX 400 /* bytes of a reason */

struct phase_request {
    enum phase phase;
    struct phase_shares shares;
    bool force;
    bool has_confirm;
    char confirm[32];
    char reason[PHASE_REASON_MAX + 1]; /* "": none */
};

/* false: *problem says why, with the status and the member at fault. */
MUST_CHECK bool phase_request_parse(const char *text, size_t length, struct phase_request *request,
                                    struct routing_problem *problem);
/* The wish it stands for; borrows from request. */
void phase_request_wish(const struct phase_request *request, struct change_wish *wish);
