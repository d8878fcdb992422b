/* The list of faults in force. Owned by the main thread. */
#include "faults.h"

bool faults_add(struct faults *faults, const struct fault *fault)
{
    for (size_t i = 0; i < faults->count; i++) {
        if (faults->active[i].kind == fault->kind && faults->active[i].scope == fault->scope) {
            faults->active[i] = *fault;
            return true;
        }
    }
    if (faults->count == FAULTS_MAX)
        return false;
    faults->active[faults->count++] = *fault;
    return true;
}

void faults_clear(struct faults *faults)
{
    faults->count = 0;
}

static bool concerns(unsigned scope, const struct fault_subject *subject)
{
    switch (scope) {
    case SCOPE_ALL:
        return true;
    case SCOPE_READS:
        return subject->is_read;
    case SCOPE_WRITES:
        return subject->is_write;
    default:
        return scope == subject->opcode;
    }
}

bool faults_take(struct faults *faults, enum fault_kind kind, const struct fault_subject *subject,
                 struct fault *taken)
{
    for (size_t i = 0; i < faults->count; i++) {
        struct fault *fault = &faults->active[i];
        if (fault->kind != kind || !concerns(fault->scope, subject))
            continue;
        *taken = *fault;
        if (fault->remaining > 0 && --fault->remaining == 0)
            *fault = faults->active[--faults->count];
        return true;
    }
    return false;
}
