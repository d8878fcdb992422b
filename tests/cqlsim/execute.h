/* The engine: runs statements against the data, or says what a prepared one needs. */
#pragma once

#include "execution.h"

enum statement_class {
    CLASS_SELECT,
    CLASS_INSERT,
    CLASS_UPDATE,
    CLASS_DELETE,
    CLASS_BATCH,
    CLASS_USE,
    CLASS_DDL,
    CLASS_LIMIT,
};

const char *execute_class_name(enum statement_class class);
enum statement_class execute_class(const struct statement *statement);
/* True for statements on system keyspaces, seen from a session in keyspace (may be NULL). */
bool execute_is_system(const struct statement *statement, const char *keyspace);

void engine_init(struct engine *engine);
/* Creates the system tables; after the cluster is known. */
bool engine_start(struct engine *engine, struct failure *failure);
void engine_fini(struct engine *engine);

/* Runs a statement; execution's inputs are set, its outcome is filled. False with failure. */
MUST_CHECK bool execute_statement(struct execution *execution, const struct statement *statement);
/* Appends the body of RESULT/Prepared to execution->out, and says how many markers there are. */
MUST_CHECK bool execute_prepare(struct execution *execution, const struct statement *statement,
                                const uint8_t id[16]);
