/* Between the uplink's thread, which hears of a scope, and the thread that decides about settings: one offer on its way at a time, each answered once.
 *
 * Any thread; a mutex guards it, held for copies of pointers only. */
#ifndef SENSOR_SCOPE_BOX_H
#define SENSOR_SCOPE_BOX_H

#include <pthread.h>
#include <stdbool.h>

#include "ship/pushed.h"

/* What the sensor says of the scope it was sent. */
struct pk_scope_verdict {
    uint32_t version; /* of the CONFIG; 0: there is none */
    uint8_t status;   /* enum pk_config_status */
    char reason[PK_CONFIG_REASON_SIZE];
};

struct pk_scope_box {
    pthread_mutex_t mutex;
    struct pk_pushed offer, judged; /* version 0: empty */
    struct pk_scope_verdict verdict, in_use;
};

void pk_scope_box_init(struct pk_scope_box *box);
void pk_scope_box_done(struct pk_scope_box *box);

/* Uplink: a body of CONFIG with a scope. PK_ERR_LIMIT: one waits still, or the body is too large; PK_ERR_MALFORMED. */
pk_err pk_scope_box_offer(struct pk_scope_box *box, const uint8_t *body, size_t len);
/* Settings: the offer, which is the caller's then; false: there is none. */
bool pk_scope_box_take(struct pk_scope_box *box, struct pk_pushed *out_offer);
/* Settings: the answer to it. judged (taken) is empty, or what is to be kept on the disk. */
void pk_scope_box_answer(
    struct pk_scope_box *box, const struct pk_scope_verdict *verdict, struct pk_pushed *judged);
/* Uplink: the answer, once; *out_judged is the caller's. */
bool pk_scope_box_answered(
    struct pk_scope_box *box, struct pk_scope_verdict *out_verdict, struct pk_pushed *out_judged);

/* What is in use now, for whoever is asked again. */
void pk_scope_box_set_in_use(struct pk_scope_box *box, const struct pk_scope_verdict *verdict);
struct pk_scope_verdict pk_scope_box_in_use(struct pk_scope_box *box);

#endif
