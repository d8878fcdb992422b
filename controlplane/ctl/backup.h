/* cloudgatectl backup FILE. */
#pragma once

#include "controlplane/ctl/ctl.h"

/* A copy of the control plane's store in the file of the second word, which must not exist yet. The
 * file has that name only once all of it is on disk. */
enum exit_code ctl_backup(const struct options *options);
