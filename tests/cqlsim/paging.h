/* DSE's continuous paging: pages that are sent without being asked for, on the stream of the
 * request that wanted them. */
#pragma once

#include "server.h"

#define PAGING_MAX_SESSIONS 60 /* on one connection */

/* What a request says about it. */
struct continuous {
    bool wanted;
    int32_t most_pages;  /* <= 0: all */
    int32_t per_second;  /* <= 0: as fast as they go */
    int32_t pages_ahead; /* version 2: pages to send before more are granted; <= 0: all */
};

struct request;

/* One result being sent. */
struct pager {
    struct list node;
    struct connection *connection;
    struct event *timer;
    struct continuous options;
    int64_t granted; /* pages that may still be sent; < 0: any number */
    int32_t page;    /* the next one's number */
    struct bytes state;
    struct wire_header header;
    uint8_t body[]; /* the request's, to be carried out again from state on */
};

/* After a page was put out: sees to the next one if there is one. */
void paging_continue(struct request *request, const uint8_t *body);
/* The next page of a session. request.c calls back when it is time. */
void request_next_page(struct pager *pager);
void paging_end(struct pager *pager);
/* REVISE_REQUEST: cancel, or grant more pages. */
bool paging_revise(struct request *request);
/* Is the page of this number the last one that may be sent? */
static inline bool paging_is_last(const struct continuous *options, int32_t page)
{
    return options->most_pages > 0 && page >= options->most_pages;
}
