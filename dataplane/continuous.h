/* DSE's continuous paging: a read is answered with page after page on one stream id, without the
 * client asking for each, until the page that says it is the last, or an ERROR. The request's slot
 * stays taken as long. The time limit begins anew with each page; in v2, where the client grants
 * pages, it is that of the first. REVISE_REQUEST, which ends such a
 * read or grants it more pages, names it by its stream id: it goes to the cluster that runs it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/cql_frame.h"

struct dispatch;
struct request;
struct session;

/* A REVISE_REQUEST of a client of a DSE version. */
void continuous_on_revise(struct dispatch *dispatch);
/* The answer to one is in; revised is the slot it was about. */
void continuous_on_revised(struct session *session, const struct request *revise);

enum continuous_page {
    CONTINUOUS_UNKNOWN, /* too little of the frame is there to tell */
    CONTINUOUS_GOES_ON, /* others follow */
    CONTINUOUS_LAST,    /* it is the last one, or no page at all */
};

/* What an answer to a continuous request is; length bytes of its frame are there. */
enum continuous_page continuous_look(struct session *session, struct cql_header header,
                                     const uint8_t *frame, size_t length);
/* A page has been passed on, or dropped: the next one is awaited. */
void continuous_await_next(struct request *request);
/* The time for the next page is over. true: that is dealt with; false: it is answered as any other
 * request. */
bool continuous_on_deadline(struct session *session, struct request *request);
