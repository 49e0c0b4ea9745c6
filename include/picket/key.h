/* CURVE key pairs and the files they live in.
 *
 * A secret key file is two lines, `picket-key-1 secret <Z85>` and `picket-key-1 public <Z85>`, mode 0600, owned by the user
 * who runs the program; anything looser is refused with what to do. Written by temporary file, fsync and rename. */
#ifndef PICKET_KEY_H
#define PICKET_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/err.h"

enum {
    PK_KEY_BYTES = 32,
    PK_KEY_TEXT_SIZE = 41,
    PK_FINGERPRINT_SIZE = 40,
    PK_KEY_ERROR_SIZE = 256
};

struct pk_keypair {
    uint8_t pubkey[PK_KEY_BYTES];
    uint8_t seckey[PK_KEY_BYTES];
};

pk_err pk_keypair_generate(struct pk_keypair *out_pair);
void pk_keypair_wipe(struct pk_keypair *pair);
const char *pk_key_text(
    const uint8_t key[PK_KEY_BYTES], char out_text[PK_KEY_TEXT_SIZE]); /* Z85, ZeroMQ RFC 32 */
bool pk_key_parse(const char *text, uint8_t out_key[PK_KEY_BYTES]);
/* BLAKE2b-128 of the public key in eight groups of four hex digits, for people to compare. */
const char *pk_key_fingerprint(
    const uint8_t pubkey[PK_KEY_BYTES], char out_text[PK_FINGERPRINT_SIZE]);

/* What a program ends with when it could not load a key (sysexits.h): 66 there is none, 77 owner or mode, 65 it is damaged. */
int pk_key_status(pk_err err);
/* out_error: one sentence that names the file and what to do. PK_ERR_IO, PK_ERR_AUTH (owner, mode, not ours to read), PK_ERR_MALFORMED. */
pk_err pk_keypair_load(
    const char *path, struct pk_keypair *out_pair, char out_error[PK_KEY_ERROR_SIZE]);
/* Refuses to replace an existing file unless replace. */
pk_err pk_keypair_save(const char *path, const struct pk_keypair *pair, bool replace,
    char out_error[PK_KEY_ERROR_SIZE]);
/* The file beside it that holds the next pair while the key is changed: path and ".next". False: too long. */
bool pk_keypair_next_path(const char *path, char *out_path, size_t size);
/* The next pair takes the place of the present one, durably. Done already (there is none): PK_OK. PK_ERR_IO. */
pk_err pk_keypair_promote(const char *path, char out_error[PK_KEY_ERROR_SIZE]);
/* The tenant's client key, 32 bytes as `picket-client-key-1 <64 hex digits>`, same rules for the file. */
pk_err pk_client_key_load(
    const char *path, uint8_t out_key[PK_KEY_BYTES], char out_error[PK_KEY_ERROR_SIZE]);
/* The key of an encrypted spool, `picket-spool-key-1 <64 hex digits>`. */
pk_err pk_spool_key_load(
    const char *path, uint8_t out_key[PK_KEY_BYTES], char out_error[PK_KEY_ERROR_SIZE]);

#endif
