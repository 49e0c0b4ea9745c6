/* Texts of the error codes. */
#include "picket/err.h"

const char *pk_err_str(pk_err err)
{
    switch (err) {
    case PK_OK:
        return "no error";
    case PK_ERR_NOMEM:
        return "out of memory";
    case PK_ERR_IO:
        return "input/output failed";
    case PK_ERR_MALFORMED:
        return "malformed";
    case PK_ERR_TRUNCATED:
        return "ends too early";
    case PK_ERR_LIMIT:
        return "beyond a limit";
    case PK_ERR_AUTH:
        return "not allowed";
    case PK_ERR_CONFIG:
        return "wrong configuration";
    case PK_ERR_VERSION:
        return "unknown version";
    case PK_ERR_CONFLICT:
        return "conflicting content";
    case PK_ERR_UNSUPPORTED:
        return "not supported";
    }
    return "unknown error";
}
