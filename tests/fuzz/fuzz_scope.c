/* Any text as a scope file: taken, or refused with a sentence. */
#include <stdlib.h>

#include "picket/hash.h"
#include "picket/scope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pk_scope *scope;
    char error[PK_CONF_ERROR_SIZE] = "";
    if (pk_scope_parse("fuzz", (const char *)data, size, &scope, error) == PK_OK) {
        pk_scope_free(scope);
    } else if (error[0] == '\0') {
        abort();
    }
    return 0;
}
