/* cloudgatectl operations [ID]: what became of the changes. */
#pragma once

#include "controlplane/ctl/ctl.h"

enum exit_code ctl_operations(const struct options *options);
