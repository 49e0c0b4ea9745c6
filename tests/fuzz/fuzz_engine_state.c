/* Any bytes as a saved detection state: refused, or taken and then saved again in the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"

#include "aggregator/detect/engine.h"
#include "aggregator/detect/finding.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_finding(void *arg, const struct pk_finding *finding)
{
    (void)arg;
    (void)finding;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pk_scope *scope;
    static const char text[] = "tenants: [{name: t, zones: [example]}]";
    char error[PK_CONF_ERROR_SIZE];
    struct pk_engine *engine;
    if (!scope && pk_scope_parse("s", text, sizeof text - 1, &scope, error) != PK_OK) {
        return 0;
    }
    struct pk_engine_options options = {
        .tenant = &scope->tenants[0], .limits = {.max_actors = 64, .max_contacts = 4096}};
    if (pk_engine_new(&options, on_finding, NULL, &engine) != PK_OK) {
        return 0;
    }
    if (pk_engine_load(engine, data, size) == PK_OK) {
        struct pk_bytes out;
        pk_bytes_init(&out, 1 << 24);
        if (pk_engine_save(engine, &out) != PK_OK) {
            abort();
        }
        pk_bytes_done(&out);
    }
    pk_engine_free(engine);
    return 0;
}
