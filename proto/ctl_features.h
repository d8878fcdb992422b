/* What a snapshot asks of a data plane, and whether that data plane can. Both planes use it: the
 * control plane before it stores a change, the data plane before it acknowledges one. Pure. The
 * table is ctl_features.def. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/ctl_codec.h"

/* Sets of features are bits of a uint32_t, in table order. */

/* What snapshot asks for. */
uint32_t ctl_features_needed(const struct ctl_snapshot *snapshot);
/* What HELLO's features (words, comma-separated; unknown ones are ignored) announce. */
uint32_t ctl_features_announced(const char *words);
/* Word and meaning, for people, of the first feature of a set that is not empty. */
const char *ctl_features_word(uint32_t features);
const char *ctl_features_meaning(uint32_t features);

/* Whether the values of a snapshot are within their ranges and make sense together: percentages up
 * to 100, words known, not both clusters without writes. true: they are. false: *member names the
 * member at fault. */
bool ctl_snapshot_is_sound(const struct ctl_snapshot *snapshot, const char **member);
