/* cloudgatectl tokens. */
#pragma once

#include "controlplane/ctl/ctl.h"

/* tokens, tokens create NAME ROLE, tokens revoke NAME: what the words say. */
enum exit_code ctl_tokens(const struct options *options);
