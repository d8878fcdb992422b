/* Which features a snapshot needs, and whether its values are sound. Pure; any thread; knows
 * nothing of who asks. */
#include "proto/ctl_features.h"

#include <string.h>

#include "common/log.h"

static const struct {
    const char *word;
    const char *meaning;
} table[] = {
#define CTL_FEATURE(word, needed, meaning) {#word, meaning},
#include "proto/ctl_features.def"
#undef CTL_FEATURE
};

uint32_t ctl_features_needed(const struct ctl_snapshot *snapshot)
{
    const bool is_needed[] = {
#define CTL_FEATURE(word, needed, meaning) (needed),
#include "proto/ctl_features.def"
#undef CTL_FEATURE
    };
    uint32_t features = 0;
    for (size_t i = 0; i < ARRAY_COUNT(is_needed); i++)
        if (is_needed[i])
            features |= UINT32_C(1) << i;
    return features;
}

uint32_t ctl_features_announced(const char *words)
{
    uint32_t features = 0;
    for (const char *at = words; *at != '\0';) {
        size_t length = strcspn(at, ",");
        for (size_t i = 0; i < ARRAY_COUNT(table); i++)
            if (strlen(table[i].word) == length && memcmp(at, table[i].word, length) == 0)
                features |= UINT32_C(1) << i;
        at += length + (at[length] == ',');
    }
    return features;
}

static size_t first_of(uint32_t features)
{
    size_t i = 0;
    CHECK(features != 0);
    while ((features >> i & 1) == 0)
        i++;
    CHECK(i < ARRAY_COUNT(table));
    return i;
}

const char *ctl_features_word(uint32_t features)
{
    return table[first_of(features)].word;
}

const char *ctl_features_meaning(uint32_t features)
{
    return table[first_of(features)].meaning;
}

static bool is_one_of(const char *text, const char *const *words, size_t count)
{
    if (text[0] == '\0')
        return true;
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, words[i]) == 0)
            return true;
    return false;
}

/* A cluster without writes answers nothing. */
static bool reads_where_it_writes(const struct ctl_snapshot *snapshot)
{
    if (snapshot->skip_target)
        return !snapshot->forward_reads_to_target && !snapshot->forward_system_queries_to_target &&
               snapshot->canary_read_percent == 0;
    return !snapshot->skip_origin ||
           (snapshot->forward_reads_to_target && snapshot->forward_system_queries_to_target);
}

bool ctl_snapshot_is_sound(const struct ctl_snapshot *snapshot, const char **member)
{
    static const char *const switches[] = {"true", "false"};
    enum log_level level;
    bool is_split = !snapshot->skip_origin && !snapshot->skip_target;
    const struct {
        const char *name;
        bool is_sound;
    } checks[] = {
        {"shadow_read_percent", snapshot->shadow_read_percent <= (is_split ? 100 : 0)},
        {"canary_read_percent", snapshot->canary_read_percent <= 100},
        {"skip_target", !(snapshot->skip_origin && snapshot->skip_target)},
        {"forward_reads_to_target", reads_where_it_writes(snapshot)},
        {"request_timeout_ms", snapshot->request_timeout_ms <= CTL_REQUEST_TIMEOUT_MAX_MS},
        {"max_clients", snapshot->max_clients <= CTL_CLIENTS_MAX},
        {"replace_cql_functions",
         is_one_of(snapshot->replace_cql_functions, switches, ARRAY_COUNT(switches))},
        {"stamp_timestamps",
         is_one_of(snapshot->stamp_timestamps, switches, ARRAY_COUNT(switches))},
        {"log_level",
         snapshot->log_level[0] == '\0' || log_level_named(snapshot->log_level, &level)},
    };
    for (size_t i = 0; i < ARRAY_COUNT(checks); i++) {
        if (!checks[i].is_sound) {
            *member = checks[i].name;
            return false;
        }
    }
    return true;
}
