/* The data plane's end of the control link: connects to the control plane's unix socket, says
 * HELLO, applies SNAPSHOTs, ACKs or NACKs them, sends STATS, and keeps the last good snapshot in
 * STATE_DIRECTORY. Lives on the main thread's event_base. The control plane may die at any moment:
 * nothing here ever waits for it. Wire format: docs/control-link.md. */
#pragma once

#include <stdbool.h>

#include "dataplane/snapshot.h"

struct agent;
struct config;
struct ctl_stats;
struct event_base;

struct agent_hooks {
    void *context;
    /* Switches every worker to snapshot (a reference is taken by the callee). When the last worker
     * has switched the callee calls agent_on_applied, possibly before apply returns. Only one apply
     * is under way at a time. */
    void (*apply)(void *context, struct snapshot *snapshot);
    /* Waits until each write that was sent to fewer clusters than the state in force wants is
     * answered; then the callee calls agent_on_settled, possibly before settle returns. Asked for
     * again meanwhile, it begins again, and calls once. */
    void (*settle)(void *context);
    void (*stats)(void *context, struct ctl_stats *stats);
};

/* Reads the last good snapshot from config->state_directory. true: *value is filled. false: there
 * is none, or it is corrupt, in which case one line was logged that says why and what is used
 * instead. */
bool agent_load_last_good(const struct config *config, struct snapshot *value);

/* Starts connecting (retrying with backoff and jitter). current is the snapshot in force. NULL when
 * config->control_socket is empty: run without a control plane. */
struct agent *agent_new(struct event_base *base, const struct config *config,
                        struct snapshot *current, const struct agent_hooks *hooks);
void agent_free(struct agent *agent); /* NULL is allowed */
/* The apply begun last is in force on all workers: persists it, then ACKs. When it brought a
 * cluster into use, the ACK waits for agent_on_settled. */
void agent_on_applied(struct agent *agent);
void agent_on_settled(struct agent *agent);
bool agent_is_connected(const struct agent *agent); /* false for NULL */
