/* What cloudgate-control does with a database that no control plane serves: check its audit log,
 * put a backup in its place. Main thread; prints for people; the result is the exit code. */
#pragma once

#include "controlplane/config.h"

/* Checks every row of the audit log in the file. expect: a head noted elsewhere, "ID:HASH", or
 * NULL. 0: all fits, and the head is printed; 1: it does not, or cannot be read, and why is on
 * stderr. */
int offline_verify_audit(const char *path, const char *expect);
/* Puts the backup into the place of CONTROL_DATABASE. 0: done, and what was done is printed. */
int offline_restore(const struct control_config *config, const char *from);
