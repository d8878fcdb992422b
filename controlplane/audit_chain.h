/* The hash chain of the audit log: how a row is sealed, and how a sequence of rows is checked.
 * Pure.
 *
 * A row's canonical form is one line of JSON, {"hash":"…","previous":"…",…}, as the export prints
 * it. Its hash is the SHA-256 of that line without the hash member; its previous is the hash of the
 * row before it. docs/audit.md says so for programs of others. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "common/dynbuf.h"

#define AUDIT_HASH_SIZE 65 /* 64 hexadecimal digits and the NUL */
#define AUDIT_FORM      1  /* of the canonical line; the member "form" */
#define AUDIT_LINE_MAX  (1024u * 1024u)

struct audit_chain {
    uint64_t entries; /* rows taken */
    uint64_t last_id; /* of the last of them; 0: none yet */
    char hash[AUDIT_HASH_SIZE];
    char store_id[40];
    uint64_t expected_id; /* 0: nothing was noted elsewhere */
    char expected_hash[AUDIT_HASH_SIZE];
    bool was_met;
};

/* What stands for the hash before the first row. */
extern const char audit_chain_origin[AUDIT_HASH_SIZE];

void audit_chain_init(struct audit_chain *chain);
/* A head noted elsewhere, "ID:HASH": the chain must pass through it. false: not of that form. */
MUST_CHECK bool audit_chain_expect(struct audit_chain *chain, const char *text);
/* The hash of a line that has no hash member yet. */
void audit_chain_hash(const char *content, size_t length, char hash[AUDIT_HASH_SIZE]);
/* Puts the hash member in front of content, a JSON object that begins with "previous". */
void audit_chain_seal(const struct dynbuf *content, const char *hash, struct dynbuf *line);
/* The next line, without its newline. A chain that has no row yet may begin anywhere. false: the
 * line does not fit, error names its row and says why; the chain is of no more use. */
MUST_CHECK bool audit_chain_take(struct audit_chain *chain, const char *line, size_t length,
                                 char *error, size_t error_size);
/* No more lines: true unless the noted head was not met. */
MUST_CHECK bool audit_chain_finish(const struct audit_chain *chain, char *error, size_t error_size);
