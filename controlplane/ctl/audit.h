/* cloudgatectl audit export and audit verify. */
#pragma once

#include "controlplane/ctl/ctl.h"

/* All rows, or those from options->since on, to stdout as they are; checked on the way. The head
 * goes to stderr. */
enum exit_code ctl_audit_export(const struct options *options);
/* The control plane's own log, or the export in the file of the third word. EXIT_REFUSED: it is not
 * whole. */
enum exit_code ctl_audit_verify(const struct options *options);
