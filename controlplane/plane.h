/* The control plane as one object: store, fleet, publisher and event bus, and the one way the
 * routing state changes. Thread-safe. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/check.h"
#include "controlplane/change.h"
#include "controlplane/config.h"
#include "controlplane/events.h"
#include "controlplane/fleet.h"
#include "controlplane/history.h"
#include "controlplane/store.h"

#define PLANE_ACK_TIMEOUT_MS 5000 /* unless somebody wants to wait longer, or not at all */
#define PLANE_WAIT_MAX_S     80   /* less than the front grants an answer */
#define PLANE_LONG_WAITS_MAX 8    /* each holds one of the web server's threads */
#define PLANE_WAITS_MAX      16   /* long or not; some threads stay free for others */
#define PLANE_CROWDED_MS     200  /* what those beyond wait */

struct plane;

/* What somebody wants. */
struct plane_wish {
    struct change_wish change;
    const char *if_match; /* NULL: whatever the state is */
    bool adopt;           /* data planes are to obey even if they come from another store or are
                             ahead */
    bool is_dry_run;      /* say what would be, change nothing */
    unsigned wait_ms;     /* for the data planes, at most */
    struct store_actor actor;
};

enum plane_verdict {
    PLANE_CHANGED,   /* stored and pushed */
    PLANE_UNCHANGED, /* nothing to do */
    PLANE_PLANNED,   /* a dry run: nothing was changed */
    PLANE_STALE,     /* If-Match does not fit */
    PLANE_REFUSED,   /* plan.problem says why */
    PLANE_FAILED,    /* the store could not write; error says why */
};

struct plane_change {
    enum plane_verdict verdict;
    struct routing_state before;
    struct routing_state state;   /* after the change (or as it is, when there was none) */
    struct change_plan plan;      /* not when PLANE_STALE */
    struct publication published; /* the snapshot that carries it */
    bool is_everywhere;           /* every connected data plane has it in force */
    char error[512];              /* PLANE_FAILED only */
};

/* Opens the store and starts the publisher. NULL: error holds one line. */
struct plane *plane_new(const struct control_config *config, char *error, size_t error_size);
/* Ends all waits and streams; requests that come later are answered as usual. */
void plane_close(struct plane *plane);
void plane_free(struct plane *plane); /* NULL is allowed */

/* The one way an operator changes the state: checks the wish against state and fleet, stores it,
 * pushes it, and waits for the data planes up to wait_ms. */
void plane_change(struct plane *plane, const struct plane_wish *wish, struct plane_change *result);

/* The present state, and the snapshot that carries it. */
void plane_standing(struct plane *plane, struct routing_state *state,
                    struct publication *published);
/* Waits until every connected data plane has answered that snapshot, at most timeout_ms; while
 * PLANE_LONG_WAITS_MAX wait for longer than PLANE_ACK_TIMEOUT_MS, at most that; while
 * PLANE_WAITS_MAX wait at all, at most PLANE_CROWDED_MS. true: all of them have it in force. */
bool plane_wait(struct plane *plane, const struct publication *published, unsigned timeout_ms);

/* Forgets a data plane that is gone for good, so that no gate waits for it, and notes who did.
 * false: it is not forgotten, since the store could not write that; error says why. */
MUST_CHECK bool plane_forget_dataplane(struct plane *plane, const char *instance,
                                       const struct store_actor *actor,
                                       enum fleet_forgotten *result, char *error,
                                       size_t error_size);

/* What a wish is measured against now: the state, since when its phase holds, figures and limits of
 * the gates. */
void plane_facts(struct plane *plane, struct change_facts *facts);

struct store *plane_store(struct plane *plane);
struct fleet *plane_fleet(struct plane *plane);
struct events *plane_events(struct plane *plane);
struct history *plane_history(struct plane *plane);
bool plane_is_closing(struct plane *plane);
