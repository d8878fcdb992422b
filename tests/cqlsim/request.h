/* One request on its way to its answer: what the files that handle requests share. */
#pragma once

#include "paging.h"
#include "parser.h"
#include "server.h"

struct request {
    struct connection *connection;
    struct server *server;
    struct wire_header header;
    struct wire_reader reader;
    struct failure failure;
    size_t start; /* of the answer in the output */
    struct bytes *values;
    struct bytes *names; /* NULL: by position */
    size_t value_count;
    const char *keyspace; /* this request's, else the session's; may be NULL */
    struct execution execution;
    struct fault_subject subject;
    struct bytes payload; /* the custom payload as it came; null without one */
    struct fault warning; /* with the answer when it has a text */
    bool echoes;          /* answers with the custom payload that came */
    struct continuous continuous;
    struct pager *pager; /* NULL: a request as it came; else the session whose next page it is */
    struct last_request *last; /* what is remembered of this request */
};

/* Begins the answer: its header and what comes before the body. */
void request_begin(struct request *request, uint8_t opcode);
/* Sets the failure and closes the connection behind the answer; returns false. */
bool request_malformed(struct request *request, const char *what);
/* True when a fault takes the request's place: nothing else may be done with it. */
bool request_faulted(struct request *request, const struct fault_subject *subject);

/* The handlers below answer, or return false: with a failure, or *done when a fault has seen to the
 * answer. */

/* startup.c */
bool startup_options(struct request *request);
bool startup_startup(struct request *request);
bool startup_auth(struct request *request);
bool startup_register(struct request *request);

/* statement.c */
bool statement_query(struct request *request, bool *done);
bool statement_execute(struct request *request, bool *done);
bool statement_prepare(struct request *request, bool *done);

/* parameters.c: what QUERY, EXECUTE and BATCH carry besides the statement. */
void parameters_start(struct request *request);
MUST_CHECK bool parameters_read(struct request *request);
/* The part of them that ends a BATCH. */
MUST_CHECK bool parameters_read_batch(struct request *request);
MUST_CHECK bool parameters_values(struct request *request, bool named, struct bytes **values,
                                  struct bytes **names, size_t *count);

/* batch.c */
bool batch_batch(struct request *request, bool *done);
/* statement.c, for batches too. */
const struct prepared *statement_find_prepared(struct request *request, struct bytes id);
bool statement_unprepared(struct request *request, struct bytes id);
void statement_put_outcome(struct request *request);
