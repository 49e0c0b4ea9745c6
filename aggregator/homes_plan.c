#include "homes_plan.h"

#include <string.h>

static bool is_same(const struct pk_store_node *a, const struct pk_store_node *b)
{
    return strcmp(a->instance, b->instance) == 0;
}

const struct pk_store_node *pk_homes_holder(
    const struct pk_store_homes *view, const struct pk_store_home *home)
{
    for (size_t i = 0; home->is_live && i < view->n_nodes; i++) {
        if (strcmp(view->nodes[i].instance, home->instance) == 0) {
            return &view->nodes[i];
        }
    }
    return NULL;
}

static bool prefers(const struct pk_store_node *node, const struct pk_store_home *home)
{
    size_t len = strlen(home->tenant_name);
    for (const char *at = node->prefers; *at; at += strcspn(at, "\n") + 1) {
        if (strncmp(at, home->tenant_name, len) == 0 && at[len] == '\n') {
            return true;
        }
    }
    return false;
}

/* How well a node suits: 3 pinned, 2 preferring, 1 any. */
static int suits(const struct pk_store_node *node, const struct pk_store_home *home)
{
    return strcmp(node->name, home->pinned) == 0 ? 3 : prefers(node, home) ? 2 : 1;
}

static size_t load_of(const struct pk_store_homes *view, const struct pk_store_node *node)
{
    size_t n = 0;
    for (size_t i = 0; i < view->n_homes; i++) {
        const struct pk_store_node *holder = pk_homes_holder(view, &view->homes[i]);
        n += holder && is_same(holder, node);
    }
    return n;
}

static const struct pk_store_node *choose(const struct pk_store_homes *view,
    const struct pk_store_home *home, const struct pk_store_node *without, const size_t *loads)
{
    const struct pk_store_node *best = NULL;
    size_t best_load = 0;
    for (size_t i = 0; i < view->n_nodes; i++) {
        const struct pk_store_node *node = &view->nodes[i];
        if (without && is_same(node, without)) {
            continue;
        }
        int better = best ? suits(node, home) - suits(best, home) : 1;
        if (better > 0 || (better == 0 && loads[i] < best_load)) { /* nodes come by name */
            best = node;
            best_load = loads[i];
        }
    }
    return best;
}

enum {
    MAX_NODES = 64 /* more are there, but take nothing */
};

static void all_loads(const struct pk_store_homes *view, size_t loads[MAX_NODES])
{
    for (size_t i = 0; i < view->n_nodes && i < MAX_NODES; i++) {
        loads[i] = load_of(view, &view->nodes[i]);
    }
}

const struct pk_store_node *pk_homes_next(const struct pk_store_homes *view,
    const struct pk_store_home *home, const struct pk_store_node *without)
{
    size_t loads[MAX_NODES] = {0};
    struct pk_store_homes few = *view;
    few.n_nodes = view->n_nodes < MAX_NODES ? view->n_nodes : MAX_NODES;
    all_loads(&few, loads);
    return choose(&few, home, without, loads);
}

void pk_homes_plan(const struct pk_store_homes *view, const struct pk_store_node *self,
    bool is_first, enum pk_homes_move *out_moves)
{
    size_t loads[MAX_NODES] = {0};
    struct pk_store_homes few = *view;
    few.n_nodes = view->n_nodes < MAX_NODES ? view->n_nodes : MAX_NODES;
    all_loads(&few, loads);
    for (size_t i = 0; i < view->n_homes; i++) {
        const struct pk_store_home *home = &view->homes[i];
        const struct pk_store_node *holder = pk_homes_holder(&few, home);
        const struct pk_store_node *best = choose(&few, home, NULL, loads);
        bool is_ours = home->is_live && strcmp(home->instance, self->instance) == 0;
        out_moves[i] = PK_HOMES_STAY;
        if (is_ours && best && !is_same(best, self) && suits(best, home) > suits(self, home)) {
            out_moves[i] = PK_HOMES_LEAVE;
        } else if (is_first && !is_ours && strcmp(home->holder, self->name) == 0) {
            out_moves[i] = PK_HOMES_TAKE;
        } else if (!holder && !home->is_live && best &&
                   (!view->is_young || home->holder[0] == '\0')) {
            out_moves[i] = is_same(best, self) ? PK_HOMES_TAKE : PK_HOMES_STAY;
            loads[best - few.nodes]++;
        }
    }
}
