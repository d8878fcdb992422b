/* A routing snapshot as the control link and the last-good file carry it. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/check.h"
#include "dataplane/snapshot.h"
#include "proto/ctl_codec.h"

/* What this data plane announces in HELLO and honours in a SNAPSHOT, by the words of
 * proto/ctl_features.def. */
#define SNAPSHOT_FEATURES "routing,write_switches,canary_reads,live_settings"

/* nonce 0, adopt false. */
void snapshot_to_message(const struct snapshot *snapshot, struct ctl_snapshot *message);
/* message must have passed snapshot_refuse_message. */
void snapshot_from_message(const struct ctl_snapshot *message, struct snapshot *snapshot);
/* Why the content of a snapshot cannot be put in force: the reason of a NACK, with member and
 * detail. NULL: it can. */
const char *snapshot_refuse_message(const struct ctl_snapshot *message, const char **member,
                                    char *detail, size_t detail_size);
