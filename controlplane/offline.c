/* The commands of cloudgate-control that work on a database at rest. Main thread; must never be run
 * on a file in use, which the store sees to. */
#include "controlplane/offline.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controlplane/store.h"

int offline_verify_audit(const char *path, const char *expect)
{
    struct store_audit_verdict verdict;
    store_audit_verify_file(path, expect, &verdict);
    if (!verdict.is_whole) {
        fprintf(stderr, "cloudgate-control: %s%s%s\n", verdict.was_read ? path : "",
                verdict.was_read ? ": the audit log is not whole: " : "", verdict.detail);
        return 1;
    }
    printf("%s: the audit log is whole: %" PRIu64 " rows, head %" PRIu64 ":%s\n", path,
           verdict.entries, verdict.head.id, verdict.head.hash);
    return 0;
}

int offline_restore(const struct control_config *config, const char *from)
{
    struct store_restored restored;
    char actor[40], error[700];
    snprintf(actor, sizeof actor, "uid %u", (unsigned)getuid());
    umask(0077); /* until the result gets its owner and mode */
    if (!store_restore(config->database, from, actor, &restored, error, sizeof error)) {
        fprintf(stderr, "cloudgate-control: not restored: %s\n", error);
        return 1;
    }
    if (restored.warning[0] != '\0')
        fprintf(stderr, "cloudgate-control: warning: the backup's audit log is not whole: %s\n",
                restored.warning);
    printf("%s: restored from %s: store %s, revision %" PRIu64 "\n", config->database, from,
           restored.state.store_id, restored.state.revision);
    if (restored.aside[0] != '\0')
        printf("the former database is %s\n", restored.aside);
    printf("Start cloudgate-control. Data planes that know a later revision keep theirs until you "
           "tell them otherwise: cloudgatectl routing adopt\n");
    return 0;
}
