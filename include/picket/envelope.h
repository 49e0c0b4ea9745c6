/* Frame headers of the sensor protocol (docs/PROTOCOL.md s3): a msgpack array, positional, only ever appended to.
 *
 * A message is [header] or [header, body]. Encoding cannot fail for values in range; decoding believes nothing. */
#ifndef PICKET_ENVELOPE_H
#define PICKET_ENVELOPE_H

#include "picket/bytes.h"
#include "picket/hash.h"
#include "picket/key.h"
#include "picket/observation.h"

enum {
    PK_PROTO_MAGIC = 0x5001,
    PK_PROTO_MINOR = 0,
    PK_BOOT_ID_BYTES = 16,
    PK_MAX_ACK_RANGES = 16,
    PK_ENDPOINT_SIZE = 128 /* "tcp://host:port" and the zero */
};

enum pk_frame_type {
    PK_FRAME_HELLO = 1,
    PK_FRAME_WELCOME = 2,
    PK_FRAME_BATCH = 3,
    PK_FRAME_ACK = 4,
    PK_FRAME_CREDIT = 5,
    PK_FRAME_HEARTBEAT = 6,
    PK_FRAME_CONFIG = 7,
    PK_FRAME_CONFIG_ACK = 8,
    PK_FRAME_BYE = 9,
    PK_FRAME_ERROR = 10,
    PK_FRAME_ROTATE = 11,
    PK_FRAME_ENROL = 20,
    PK_FRAME_ENROLLED = 21,
};

enum pk_frame_error { /* codes of ERROR, docs/PROTOCOL.md s6 */
    PK_FRAME_ERR_FRAMING = 1,
    PK_FRAME_ERR_VERSION = 2,
    PK_FRAME_ERR_UNSUPPORTED = 3,
    PK_FRAME_ERR_NO_SESSION = 4,
    PK_FRAME_ERR_TOO_LARGE = 5,
    PK_FRAME_ERR_CREDIT = 6,
    PK_FRAME_ERR_CORRUPT = 7,
    PK_FRAME_ERR_MALFORMED = 8,
    PK_FRAME_ERR_EPOCH_CONFLICT = 9,
    PK_FRAME_ERR_CLONE = 10,
    PK_FRAME_ERR_REVOKED = 11,
    PK_FRAME_ERR_OVERLOADED = 12,
    PK_FRAME_ERR_ENROL = 13, /* on the enrolment port: for every reason the same */
};
const char *pk_frame_error_str(enum pk_frame_error code);

enum pk_bye_reason {
    PK_BYE_SHUTDOWN = 1,
    PK_BYE_IDLE = 2,
    PK_BYE_MOVED = 3,
    PK_BYE_REVOKED = 4
};
enum pk_credit_reason { /* of CREDIT */
    PK_CREDIT_OPEN = 0,
    PK_CREDIT_STORE = 1, /* the aggregator's database is away or does not answer */
    PK_CREDIT_SHARE = 2, /* the sensor has its share under way; others come first */
};
struct pk_frame_batch {
    uint64_t epoch, seq;
    uint8_t codec; /* enum pk_codec */
    uint8_t kind;  /* enum pk_batch_kind */
    uint32_t body_len, raw_len, rows;
    int64_t first_us, last_us;
    uint8_t digest[PK_DIGEST_BYTES]; /* BLAKE2b-128 of the body as sent */
};

struct pk_frame {
    enum pk_frame_type type;
    uint64_t session; /* 0 in HELLO */
    union {
        struct {
            uint8_t minor;
            uint8_t boot_id[PK_BOOT_ID_BYTES];
            uint64_t mono_ns;
        } hello;
        struct {
            uint8_t minor;
            int64_t wall_us;
            uint64_t echo_mono_ns;
        } welcome;
        struct pk_frame_batch batch;
        struct {
            uint64_t epoch, upto;
            uint32_t n_ranges;
            struct {
                uint64_t from, to;
            } ranges[PK_MAX_ACK_RANGES];
            uint16_t credit_batches;
            uint32_t credit_bytes;
        } ack;
        struct {
            uint16_t credit_batches;
            uint32_t credit_bytes;
            uint8_t reason;
        } credit;
        struct {
            uint64_t mono_ns;
            int64_t wall_us;
            uint64_t echo_mono_ns;
            uint64_t queued;
            int64_t
                offset_us; /* S to A: the aggregator's wall clock minus the sensor's, as the sensor measured it; 0: not yet */
            uint64_t queued_bytes; /* S to A, as what follows */
            uint64_t behind_us;    /* age of the oldest row that waits; 0: none waits */
        } heartbeat;
        struct {
            uint32_t version;
        } config;
        struct {
            uint32_t version;
            uint8_t status;
        } config_ack;
        struct {
            uint8_t reason;
            uint32_t retry_after_s;
        } bye;
        struct {
            uint16_t code;
            uint64_t epoch, seq;
            uint8_t fatal;
        } error;
    } u;
};

/* Appends the header to out. */
pk_err pk_frame_encode(const struct pk_frame *frame, struct pk_bytes *out);
/* PK_ERR_VERSION: another major version; PK_ERR_UNSUPPORTED: a type this program does not know (frame->type and session are
 * set); PK_ERR_MALFORMED, PK_ERR_TRUNCATED, PK_ERR_LIMIT. Extra trailing elements are ignored. */
pk_err pk_frame_decode(const uint8_t *header, size_t len, struct pk_frame *out_frame);

/* Bodies that are maps with small integer keys; unknown keys are skipped, absent ones leave the default. */
struct pk_hello_body {
    char sensor[65], software[33];
    uint64_t capabilities; /* PK_CAP_* */
    uint8_t vantage, privacy;
    uint64_t spool_epoch, spool_oldest_seq, spool_newest_seq, spool_bytes;
    int64_t wall_us;
    uint64_t queued, behind_us; /* batches that wait, and the age of the oldest row in them */
};
enum {
    PK_CAP_ZSTD = 1 << 0,
    PK_CAP_SPOOL = 1 << 1,  /* survives a restart */
    PK_CAP_ROTATE = 1 << 2, /* of WELCOME: ROTATE is understood */
    PK_CAP_CONFIG = 1 << 3, /* of HELLO: CONFIG is understood */
    PK_CAP_SCOPE = 1 << 4,  /* of HELLO: a scope in CONFIG is taken, and frames of 1 MiB */
};
struct pk_welcome_body {
    uint32_t sensor_id;
    uint32_t max_body_bytes, max_unpacked_bytes;
    uint16_t credit_batches;
    uint32_t credit_bytes, ack_timeout_ms, heartbeat_ms;
    uint64_t resume_epoch, resume_seq; /* all of that epoch up to here is durable */
    uint32_t config_version; /* of the CONFIG that has the sensor's scope; 0: there is none */
    uint64_t capabilities;
};
/* Where an aggregator is reached, and the key by which it is known. */
struct pk_endpoint {
    char address[PK_ENDPOINT_SIZE]; /* as ZeroMQ takes it */
    uint8_t server_pubkey[PK_KEY_BYTES];
};
pk_err pk_hello_body_encode(const struct pk_hello_body *body, struct pk_bytes *out);
pk_err pk_hello_body_decode(const uint8_t *data, size_t len, struct pk_hello_body *out_body);
pk_err pk_welcome_body_encode(const struct pk_welcome_body *body, struct pk_bytes *out);
pk_err pk_welcome_body_decode(const uint8_t *data, size_t len, struct pk_welcome_body *out_body);

/* Body of BYE, optional: where to go instead. Both keys or neither. */
pk_err pk_bye_body_encode(const struct pk_endpoint *elsewhere, struct pk_bytes *out);
pk_err pk_bye_body_decode(const uint8_t *data, size_t len, struct pk_endpoint *out_elsewhere);

/* Body of ROTATE: the public key that is to be the sensor's next. */
pk_err pk_rotate_body_encode(const uint8_t pubkey[PK_KEY_BYTES], struct pk_bytes *out);
pk_err pk_rotate_body_decode(const uint8_t *data, size_t len, uint8_t out_pubkey[PK_KEY_BYTES]);

/* Body of CONFIG: where the aggregator can be reached besides, and from when on (wall clock; 0: now). */
enum {
    PK_CONFIG_MAX_ENDPOINTS = 4
};
struct pk_config_body {
    uint32_t n;
    struct pk_config_endpoint {
        struct pk_endpoint endpoint;
        int64_t not_before_us;
    } endpoints[PK_CONFIG_MAX_ENDPOINTS];
};
enum pk_config_status { /* of CONFIG_ACK */
    PK_CONFIG_KEPT = 0,
    PK_CONFIG_REFUSED = 1,
    PK_CONFIG_NOT_DURABLE = 2, /* in use, and forgotten with the process */
};
pk_err pk_config_body_encode(const struct pk_config_body *body, struct pk_bytes *out);
pk_err pk_config_body_decode(const uint8_t *data, size_t len, struct pk_config_body *out_body);
/* What stands in the header of a CONFIG with this body: the first four bytes of the digest of its scope's text (of the whole body when it has none), little-endian; never 0.
 * Hence two scopes that differ in nothing but their number are one version. */
uint32_t pk_config_version(const uint8_t *body, size_t len);

/* A CONFIG that carries the scope of the sensor's tenant instead. */
struct pk_config_scope {
    uint32_t serial; /* of the scope as `picketctl apply` numbered it */
    struct pk_slice
        text; /* at most PK_MAX_SCOPE_BYTES; decoded: borrowed from the body. len 0: the body has no scope */
};
pk_err pk_config_scope_encode(const struct pk_config_scope *scope, struct pk_bytes *out);
pk_err pk_config_scope_decode(const uint8_t *data, size_t len, struct pk_config_scope *out_scope);

/* Body of CONFIG_ACK, optional: why it is not kept, or what of it the site leaves out. */
enum {
    PK_CONFIG_REASON_SIZE = 129
};
pk_err pk_config_ack_body_encode(const char *reason, struct pk_bytes *out);
pk_err pk_config_ack_body_decode(
    const uint8_t *data, size_t len, char out_reason[PK_CONFIG_REASON_SIZE]);

#endif
