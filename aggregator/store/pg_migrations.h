/* The embedded migrations. Private to aggregator/store. */
#ifndef STORE_PG_MIGRATIONS_H
#define STORE_PG_MIGRATIONS_H

#include <stdbool.h>

struct pk_migration {
    const char *name;
    const char *sql;
    bool only_expands; /* programs of before go on working on what it leaves, and may start on it */
};
extern const struct pk_migration pk_migrations[];
extern const unsigned pk_n_migrations;

#endif
