/* From facts to a word and a sentence. Pure; any thread; it must never say that a revision is in
 * force which the data plane itself has not said to be. */
#include "controlplane/following.h"

#include <stdio.h>
#include <string.h>

#include "common/check.h"

static const char *const words[FOLLOWING_COUNT] = {
#define FOLLOWING(symbol, word, meaning) [FOLLOWING_##symbol] = word,
#include "controlplane/following.def"
#undef FOLLOWING
};

/* What a reason of docs/control-link.md means for whoever has to do something about it. */
static const struct {
    const char *reason;
    const char *advice;
} refusals[] = {
    {"revision_regressed",
     "it knows a later revision than this store, which may have been restored "
     "from a backup; tell it to adopt this one if this one is right"},
    {"revision_differs", "it has another content under this revision: the store was restored and "
                         "changed again; tell it to adopt this one if this one is right"},
    {"store_differs",
     "it follows another store than this one; tell it to adopt this one if this one "
     "is right"},
    {"not_saved", "it switched, but could not save the state: a restart without the control plane "
                  "would lose it; it is asked again every few seconds"},
    {"not_supported", "it cannot do what the state asks; upgrade it"},
};

enum following following_of(const struct following_facts *facts)
{
    if (!facts->is_connected)
        return FOLLOWING_AWAY;
    if (facts->is_silent)
        return FOLLOWING_SILENT;
    if (facts->offers == 0 && facts->is_refusing)
        return FOLLOWING_REFUSING;
    return facts->offers == 0 && facts->is_same ? FOLLOWING_YES : FOLLOWING_APPLYING;
}

const char *following_word(enum following following)
{
    return words[following];
}

static const char *advice_for(const char *reason)
{
    for (size_t i = 0; i < ARRAY_COUNT(refusals); i++)
        if (strcmp(refusals[i].reason, reason) == 0)
            return refusals[i].advice;
    return "it refused the present revision";
}

void following_describe(const struct following_facts *facts, char *text, size_t size)
{
    unsigned long long in_force = facts->in_force, wanted = facts->wanted;
    switch (following_of(facts)) {
    case FOLLOWING_AWAY:
        snprintf(text, size, "not connected (%s); if it runs, it goes on with revision %llu",
                 facts->detail, in_force);
        break;
    case FOLLOWING_SILENT:
        snprintf(text, size,
                 "nothing has been heard of it for more than %u s: it is stopped or hangs, and "
                 "counts as gone soon; revision %llu was in force",
                 FOLLOWING_SILENT_MS / 1000, in_force);
        break;
    case FOLLOWING_REFUSING:
        snprintf(text, size, "%s: %s (%s); in force is revision %llu", facts->reason,
                 advice_for(facts->reason), facts->detail, in_force);
        break;
    case FOLLOWING_APPLYING:
        if (facts->offers > 1)
            snprintf(text, size,
                     "revision %llu was sent %u times and is not acknowledged; in force is "
                     "revision %llu",
                     wanted, facts->offers, in_force);
        else
            snprintf(text, size,
                     "revision %llu is on its way and not acknowledged yet; in force is revision "
                     "%llu",
                     wanted, in_force);
        break;
    case FOLLOWING_YES:
    case FOLLOWING_COUNT:
        snprintf(text, size, "revision %llu is in force on all its workers", in_force);
        break;
    }
}
