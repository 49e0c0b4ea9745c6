/* The ZeroMQ authentication handler (ZAP, RFC 27): a CURVE key is in the table or the door stays shut.
 *
 * One thread in the ingest child. It answers from memory only, because libzmq serialises all handshakes through it; the table is replaced
 * whole by the control side. Before the first table, and while shutting down, it answers 300, after which clients retry by themselves. */
#ifndef AGGREGATOR_INGEST_ZAP_H
#define AGGREGATOR_INGEST_ZAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "link.h"

struct pk_zap;

#define PK_ZAP_DOMAIN       "picket"
#define PK_ZAP_ENROL_DOMAIN "picket-enrol"

/* Binds the handler's endpoint in this context and starts the thread; must succeed before any public bind. PK_ERR_IO, PK_ERR_NOMEM. */
pk_err pk_zap_start(void *zmq_context, struct pk_zap **out_zap);
/* Ends the thread; before the context is ended. */
void pk_zap_stop(struct pk_zap *zap);
/* Replaces the table; keys is copied. */
pk_err pk_zap_set_keys(struct pk_zap *zap, const struct pk_link_key *keys, size_t n);
/* Which tenants say where their sensors come from; tenants is copied. Others' come from anywhere. */
pk_err pk_zap_set_tenants(struct pk_zap *zap, const struct pk_link_tenant *tenants, size_t n);
/* Whether a key that is in may stay: it is the sensor's, and its address is one it may come from (family 0: not known). */
bool pk_zap_may_stay(struct pk_zap *zap, uint32_t sensor, const uint8_t pubkey[PK_KEY_BYTES],
    const struct pk_addr *address);
/* An address as libzmq writes it; family 0 when it is none. */
struct pk_addr pk_zap_address(const char *text, size_t len);
/* The tenant of a sensor in the present table; 0 when it is not there: frames of a revoked key are dropped on arrival. */
uint32_t pk_zap_tenant(struct pk_zap *zap, uint32_t sensor);
/* Whether this key is the sensor's in the present table. */
bool pk_zap_has_key(struct pk_zap *zap, uint32_t sensor, const uint8_t pubkey[PK_KEY_BYTES]);
/* The user id of an accepted peer: sensor and key. False: not one of ours. */
bool pk_zap_read_user(const char *user_id, uint32_t *out_sensor, uint8_t out_pubkey[PK_KEY_BYTES]);
/* Enrolment: any key may come while the door is open, but only so many handshakes a minute, from an address and in all. */
void pk_zap_set_door(struct pk_zap *zap, bool is_open);
/* Answers 300 to this sensor's keys until then (monotonic clock): it may try again later, libzmq does by itself. */
void pk_zap_shut_out(struct pk_zap *zap, uint32_t sensor, int64_t until_ms);
uint64_t pk_zap_refused(struct pk_zap *zap);

#endif
