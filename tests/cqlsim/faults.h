/* What the simulator has been told to do wrong. */
#pragma once

#include "execute.h"
#include "segment.h"

#define FAULTS_MAX 32

enum fault_kind {
    FAULT_DELAY,
    FAULT_HOLD,
    FAULT_ERROR,
    FAULT_SILENCE,
    FAULT_CLOSE,
    FAULT_GARBAGE,
    FAULT_CORRUPT,
    FAULT_WARN, /* the answer comes with a warning */
    FAULT_ECHO, /* the answer comes with the custom payload of its request */
};

/* Which requests: an opcode, SCOPE_ALL, or SELECTs / writes on tables that are not system tables.
 */
enum { SCOPE_ALL = 0x100, SCOPE_READS, SCOPE_WRITES };

struct fault {
    enum fault_kind kind;
    unsigned scope;
    int64_t remaining; /* < 0: until cleared */
    uint32_t delay_ms;
    int32_t code;
    enum corruption corruption;
    char text[256];
};

struct faults {
    struct fault active[FAULTS_MAX];
    size_t count;
};

/* What a request is, as far as scopes care. */
struct fault_subject {
    unsigned opcode;
    bool is_read;
    bool is_write;
};

/* False when there are too many already. A fault of the same kind and scope is replaced. */
bool faults_add(struct faults *faults, const struct fault *fault);
void faults_clear(struct faults *faults);
/* Is there a fault of this kind for the request? Copies it and counts it as used once. */
bool faults_take(struct faults *faults, enum fault_kind kind, const struct fault_subject *subject,
                 struct fault *taken);
