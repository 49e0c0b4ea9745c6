/* The embedded migrations. Private to aggregator/store. */
#ifndef STORE_PG_MIGRATIONS_H
#define STORE_PG_MIGRATIONS_H

struct pk_migration {
    const char *name;
    const char *sql;
};
extern const struct pk_migration pk_migrations[];
extern const unsigned pk_n_migrations;

#endif
