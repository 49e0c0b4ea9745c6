/* A batch: rows of one kind from one window of one sensor, dictionary coded by column (docs/PROTOCOL.md).
 *
 * The builder collects rows and interns what repeats; encode writes the canonical bytes; decode checks every length,
 * count and index before it believes it and gives back rows as values. A batch that breaks any rule is refused whole. */
#ifndef PICKET_BATCH_H
#define PICKET_BATCH_H

#include "picket/bytes.h"
#include "picket/observation.h"

enum pk_batch_kind {
    PK_BATCH_ORIGIN = 1,   /* only in .psp files: who wrote it (struct pk_origin) */
    PK_BATCH_ACTIVITY = 2, /* struct pk_activity rows */
    PK_BATCH_RRSET = 3,
    PK_BATCH_NEGATIVE = 4,
    PK_BATCH_HEALTH = 5, /* exactly one struct pk_health */
    PK_BATCH_LOSS = 6,   /* struct pk_loss rows: what the sensor had and could not keep */
    PK_BATCH_CLIENT = 7, /* struct pk_client_count rows */
};
const char *pk_batch_kind_str(enum pk_batch_kind kind);

enum {
    PK_BATCH_CLOCK_STEPPED = 1 << 0,
    PK_BATCH_PARTIAL =
        1 << 1, /* sealed before its window ended: size, or an event that does not wait */
};

/* Whether and how sources were hidden when the rows were made; rows of different modes are never compared blindly. */
enum pk_privacy {
    PK_PRIVACY_CLEAR,      /* no scope: every source in clear */
    PK_PRIVACY_PSEUDONYMS, /* inside clients as pseudonyms */
    PK_PRIVACY_NO_CLIENTS, /* inside clients not at all: no client key was given */
};

struct pk_batch_info {
    enum pk_batch_kind kind;
    int64_t window_start_us;
    uint32_t window_ms;
    uint32_t flags;      /* PK_BATCH_* */
    uint8_t privacy;     /* enum pk_privacy */
    uint32_t key_period; /* of the pseudonyms (pseudonym.h); 0 without */
};

struct pk_origin {
    char site[129]; /* "acme/hq" or "hq" */
    char sensor[65];
    char software[33];
};

/* --- building --- */
struct pk_batch_builder;
/* max_rows 1..PK_MAX_BATCH_ROWS. */
pk_err pk_batch_builder_new(size_t max_rows, struct pk_batch_builder **out_builder);
void pk_batch_builder_free(struct pk_batch_builder *builder);
/* What it can come to hold, pk_batch_encode included, in bytes. */
size_t pk_batch_builder_bound_bytes(size_t max_rows);
/* Empties it and begins a batch. */
void pk_batch_builder_begin(struct pk_batch_builder *builder, const struct pk_batch_info *info);
/* Add one row of the begun kind. PK_ERR_LIMIT: the batch is full by rows, a dictionary or estimated bytes (nothing was added):
 * seal it, begin the next and add again. PK_ERR_NOMEM. */
pk_err pk_batch_add_activity(struct pk_batch_builder *builder, const struct pk_activity *row);
pk_err pk_batch_add_rrset(struct pk_batch_builder *builder, const struct pk_rrset *row);
pk_err pk_batch_add_negative(struct pk_batch_builder *builder, const struct pk_negative *row);
pk_err pk_batch_add_loss(struct pk_batch_builder *builder, const struct pk_loss *row);
pk_err pk_batch_add_client_count(
    struct pk_batch_builder *builder, const struct pk_client_count *row);
pk_err pk_batch_set_health(struct pk_batch_builder *builder, const struct pk_health *health);
/* Besides, after it: the interfaces, at most PK_MAX_HEALTH_INTERFACES; copied. */
void pk_batch_set_interfaces(
    struct pk_batch_builder *builder, const struct pk_health_interface *interfaces, size_t n);
pk_err pk_batch_set_origin(struct pk_batch_builder *builder, const struct pk_origin *origin);
size_t pk_batch_builder_rows(const struct pk_batch_builder *builder);
/* The sum of the rows' counts; 0 for kinds without. */
uint64_t pk_batch_builder_transactions(const struct pk_batch_builder *builder);
/* Appends the canonical body to out (at most PK_MAX_BODY_BYTES; builder limits make sure of it for plain data). Also gives the
 * times of the first and last row for the frame header. */
pk_err pk_batch_encode(struct pk_batch_builder *builder, struct pk_bytes *out,
    int64_t *out_first_us, int64_t *out_last_us);

/* --- reading --- */
struct pk_batch; /* immutable */

/* Where and why a body was refused: stable text for logs, the quarantine and the ERROR frame. */
struct pk_batch_fault {
    uint32_t key;     /* map key of the part at fault, 0 for the body itself */
    const char *what; /* constant sentence, "index outside its dictionary" */
};

/* PK_ERR_MALFORMED, PK_ERR_TRUNCATED, PK_ERR_LIMIT, PK_ERR_VERSION, PK_ERR_NOMEM; *out_fault is set with every refusal. The body
 * is copied or fully decoded: body may go away afterwards. Allocation is bounded by PK_MAX_UNPACKED_BYTES times a small constant. */
pk_err pk_batch_decode(
    const uint8_t *body, size_t len, struct pk_batch **out_batch, struct pk_batch_fault *out_fault);
void pk_batch_free(struct pk_batch *batch);
const struct pk_batch_info *pk_batch_info(const struct pk_batch *batch);
size_t pk_batch_rows(const struct pk_batch *batch);
/* The distinct days (since 1970, UTC) of the rows' first times, PK_MAX_BATCH_DAYS at most; none of kinds whose rows may be of
 * any time (RRsets, losses) or have none. */
size_t pk_batch_days(const struct pk_batch *batch, const int32_t **out_days);
/* Row `index` (< rows) of a batch of that kind as a value; slices are borrowed from the batch. */
void pk_batch_activity(const struct pk_batch *batch, size_t index, struct pk_activity *out_row);
void pk_batch_rrset(const struct pk_batch *batch, size_t index, struct pk_rrset *out_row);
void pk_batch_negative(const struct pk_batch *batch, size_t index, struct pk_negative *out_row);
void pk_batch_loss(const struct pk_batch *batch, size_t index, struct pk_loss *out_row);
void pk_batch_client_count(
    const struct pk_batch *batch, size_t index, struct pk_client_count *out_row);
void pk_batch_health(const struct pk_batch *batch, struct pk_health *out_health);
/* Of a health batch; borrowed from it. */
size_t pk_batch_interfaces(
    const struct pk_batch *batch, const struct pk_health_interface **out_interfaces);
void pk_batch_origin(const struct pk_batch *batch, struct pk_origin *out_origin);

#endif
