/* The one error type of Picket.
 *
 * Errors are things that went wrong. Expected outcomes (not found, queue empty, duplicate) are a
 * bool or a small enum of the module that has them and never travel as a pk_err. */
#ifndef PICKET_ERR_H
#define PICKET_ERR_H

/* For large locals on hot paths that are written before they are read. The release build zeroes all others, which for names alone was 8 % of the sensor's time. */
#if defined(__has_attribute)
#if __has_attribute(uninitialized)
#define PK_UNSET __attribute__((uninitialized))
#endif
#endif
#ifndef PK_UNSET
#define PK_UNSET
#endif

#if defined(__has_c_attribute)
#if __has_c_attribute(nodiscard)
#define PK_NODISCARD [[nodiscard]]
#endif
#endif
#ifndef PK_NODISCARD
#define PK_NODISCARD
#endif

typedef enum PK_NODISCARD pk_err {
    PK_OK = 0,
    PK_ERR_NOMEM,       /* an allocation failed; nothing was changed */
    PK_ERR_IO,          /* the operating system refused or a connection broke; may pass */
    PK_ERR_MALFORMED,   /* bytes from outside break their format */
    PK_ERR_TRUNCATED,   /* bytes from outside end too early */
    PK_ERR_LIMIT,       /* a stated bound (limits.h) would be passed */
    PK_ERR_AUTH,        /* the peer, key or role is not allowed to do this */
    PK_ERR_CONFIG,      /* the operator's file, option or variable is wrong */
    PK_ERR_VERSION,     /* a format, protocol or schema newer than this program */
    PK_ERR_CONFLICT,    /* the same identity with other content: cloned key, restored spool */
    PK_ERR_UNSUPPORTED, /* well formed, but nothing here can handle it */
} pk_err;

/* A constant English phrase for the code, never NULL, fit for the end of a log line. */
const char *pk_err_str(pk_err err);

#endif
