/* cloudgatectl's changes of the state: one request, its answer, and who has not acknowledged it. */
#pragma once

#include "controlplane/ctl/ctl.h"

/* A whole number in decimal digits, from minimum to maximum. */
MUST_CHECK bool ctl_read_number(const char *text, unsigned long minimum, unsigned long maximum,
                                unsigned long *number);
/* Who has not acknowledged, a line each. */
void ctl_put_pending(const struct json_value *root);
/* Sends body with method to path, with --if-match, --wait and --dry-run as the options say. print
 * shows the state that is the answer. */
enum exit_code ctl_change(const struct options *options, const char *method, const char *path,
                          const char *body, void (*print)(const struct json_value *));
