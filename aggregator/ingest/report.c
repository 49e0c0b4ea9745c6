/* What sensors say of themselves in HEARTBEAT, on its way to the core: gathered, so that a thousand heartbeats are one message. */
#include <stdlib.h>

#include "child.h"

enum {
    REPORT_MS = 2000
};

void pk_report_send(struct child *child, int64_t now_ms)
{
    struct pk_link_report *reports;
    size_t n = 0;
    if (now_ms < child->next_report_ms) {
        return;
    }
    child->next_report_ms = now_ms + REPORT_MS;
    reports = calloc(child->sessions.n + 1, sizeof *reports);
    for (size_t i = 0; reports && i < child->sessions.n; i++) {
        struct pk_session *session = &child->sessions.slots[i];
        if (session->has_report && session->is_resumed) {
            reports[n++] = (struct pk_link_report){.sensor = session->sensor,
                .offset_us = session->offset_us,
                .queued = session->queued,
                .queued_bytes = session->queued_bytes,
                .behind_us = session->behind_us};
            session->has_report = false;
        }
    }
    if (n > 0) {
        (void)pk_link_send(&child->link, PK_LINK_REPORTS, reports, n * sizeof *reports, NULL,
            0); /* a full link: the next heartbeats tell */
    }
    free(reports);
}
