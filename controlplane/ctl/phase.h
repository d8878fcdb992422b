/* cloudgatectl phase, settings, dataplanes forget. */
#pragma once

#include "controlplane/ctl/ctl.h"

/* phase, phase set NAME: what the words say. */
enum exit_code ctl_phase(const struct options *options);
/* settings, settings set NAME=VALUE …. */
enum exit_code ctl_settings(const struct options *options);
/* dataplanes forget ID. */
enum exit_code ctl_forget_dataplane(const struct options *options);
