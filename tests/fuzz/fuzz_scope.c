/* Any text as a scope file: taken, or refused with a sentence. What is taken is rendered for the sensors, read again and rendered the same; and under a floor it only shrinks. */
#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"
#include "picket/scope_floor.h"

#include "heap_cap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void render(const struct pk_scope_tenant *tenant)
{
    struct pk_bytes first, second;
    struct pk_scope *again;
    char error[PK_CONF_ERROR_SIZE] = "";
    pk_bytes_init(&first, PK_CONF_MAX_BYTES);
    pk_bytes_init(&second, PK_CONF_MAX_BYTES);
    if (pk_scope_render(tenant, &first) == PK_OK) {
        if (pk_scope_parse("again", (const char *)first.data, first.len, &again, error) != PK_OK ||
            pk_scope_render(&again->tenants[0], &second) != PK_OK || second.len != first.len ||
            memcmp(first.data, second.data, first.len) != 0) {
            abort();
        }
        pk_scope_free(again);
    }
    pk_bytes_done(&first);
    pk_bytes_done(&second);
}

static void lay_floor(struct pk_scope *scope)
{
    struct pk_scope_tenant *tenant = &scope->tenants[0];
    struct pk_scope_floor floor = {.pseudonym_days = 7};
    size_t left_out = 0, zones = tenant->n_zones, clients = tenant->sites[0].n_clients;
    if (pk_scope_floor_apply(&floor, scope, tenant, &tenant->sites[0], NULL, &left_out) != PK_OK ||
        tenant->n_zones > zones || tenant->sites[0].n_clients < clients ||
        tenant->pseudonym_days > 7) {
        abort();
    }
    for (size_t i = 0; i < tenant->n_zones; i++) {
        if (tenant->zones[i].n_labels < 2) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pk_scope *scope;
    char error[PK_CONF_ERROR_SIZE] = "";
    heap_cap_begin();
    if (pk_scope_parse("fuzz", (const char *)data, size, &scope, error) == PK_OK) {
        if (scope->n_tenants > 0) {
            render(&scope->tenants[0]);
            if (scope->tenants[0].n_sites > 0) {
                lay_floor(scope);
            }
        }
        pk_scope_free(scope);
    } else if (error[0] == '\0') {
        abort();
    }
    return 0;
}
