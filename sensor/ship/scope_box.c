/* Structures are moved, never shared: whoever took one owns it. */
#include "ship/scope_box.h"

#include "picket/limits.h"

void pk_scope_box_init(struct pk_scope_box *box)
{
    *box = (struct pk_scope_box){.mutex = PTHREAD_MUTEX_INITIALIZER};
}

void pk_scope_box_done(struct pk_scope_box *box)
{
    pk_pushed_done(&box->offer);
    pk_pushed_done(&box->judged);
    pthread_mutex_destroy(&box->mutex);
}

pk_err pk_scope_box_offer(struct pk_scope_box *box, const uint8_t *body, size_t len)
{
    struct pk_pushed offer;
    pk_err err = pk_pushed_init(&offer, body, len);
    if (err != PK_OK) {
        return err;
    }
    pthread_mutex_lock(&box->mutex);
    bool is_free = box->offer.version == 0 && box->verdict.version == 0;
    if (is_free) {
        box->offer = offer;
    }
    pthread_mutex_unlock(&box->mutex);
    if (!is_free) {
        pk_pushed_done(&offer);
    }
    return is_free ? PK_OK : PK_ERR_LIMIT;
}

bool pk_scope_box_take(struct pk_scope_box *box, struct pk_pushed *out_offer)
{
    pthread_mutex_lock(&box->mutex);
    bool is_there = box->offer.version != 0;
    if (is_there) {
        *out_offer = box->offer;
        box->offer = (struct pk_pushed){.version = 0};
    }
    pthread_mutex_unlock(&box->mutex);
    return is_there;
}

void pk_scope_box_answer(
    struct pk_scope_box *box, const struct pk_scope_verdict *verdict, struct pk_pushed *judged)
{
    pthread_mutex_lock(&box->mutex);
    struct pk_pushed old = box->judged;
    box->judged = *judged;
    box->verdict = *verdict;
    pthread_mutex_unlock(&box->mutex);
    pk_pushed_done(&old);
    *judged = (struct pk_pushed){.version = 0};
}

bool pk_scope_box_answered(
    struct pk_scope_box *box, struct pk_scope_verdict *out_verdict, struct pk_pushed *out_judged)
{
    pthread_mutex_lock(&box->mutex);
    bool is_there = box->verdict.version != 0;
    if (is_there) {
        *out_verdict = box->verdict;
        *out_judged = box->judged;
        box->verdict = (struct pk_scope_verdict){.version = 0};
        box->judged = (struct pk_pushed){.version = 0};
    }
    pthread_mutex_unlock(&box->mutex);
    return is_there;
}

void pk_scope_box_set_in_use(struct pk_scope_box *box, const struct pk_scope_verdict *verdict)
{
    pthread_mutex_lock(&box->mutex);
    box->in_use = *verdict;
    pthread_mutex_unlock(&box->mutex);
}

struct pk_scope_verdict pk_scope_box_in_use(struct pk_scope_box *box)
{
    pthread_mutex_lock(&box->mutex);
    struct pk_scope_verdict verdict = box->in_use;
    pthread_mutex_unlock(&box->mutex);
    return verdict;
}
