/* The tables drivers and cqlsh read to learn about the cluster. */
#pragma once

#include "execution.h"

/* Defines keyspaces system, system_schema, system_auth, system_traces (and system_virtual_schema
 * from release 4 on). */
MUST_CHECK bool system_tables_create(struct engine *engine, struct failure *failure);
