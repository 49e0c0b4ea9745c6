/* D13: what one tenant learns of others, and what it never does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "picket/hash.h"

#include "aggregator/detect/mesh.h"

static const int64_t noon_us = INT64_C(1795435200) * 1000000, hour_us = INT64_C(3600) * 1000000;

static struct pk_tenant_id tenant(uint32_t v)
{
    return (struct pk_tenant_id){v};
}

static struct pk_addr actor(const char *text)
{
    struct pk_addr addr;
    assert_true(pk_addr_parse(text, &addr));
    return addr;
}

static struct pk_mesh *mesh_of(uint32_t n_tenants)
{
    struct pk_mesh *mesh;
    assert_int_equal(pk_mesh_new(4096, &mesh), PK_OK);
    for (uint32_t i = 1; i <= n_tenants; i++) {
        assert_int_equal(pk_mesh_opt_in(mesh, tenant(i)), PK_OK);
    }
    return mesh;
}

static void others_are_told_as_a_class(void **state)
{
    (void)state;
    struct pk_mesh *mesh = mesh_of(12);
    struct pk_addr addr = actor("203.0.113.66");
    static const enum pk_mesh_class wanted[] = {PK_MESH_NONE, PK_MESH_ONE, PK_MESH_FEW, PK_MESH_FEW,
        PK_MESH_FEW, PK_MESH_SEVERAL, PK_MESH_SEVERAL, PK_MESH_SEVERAL, PK_MESH_SEVERAL,
        PK_MESH_SEVERAL, PK_MESH_MANY, PK_MESH_MANY};
    for (uint32_t i = 1; i <= 12; i++) {
        pk_mesh_report(mesh, tenant(i), &addr, 6, 15, noon_us);
        assert_int_equal(pk_mesh_ask(mesh, tenant(1), &addr, noon_us), wanted[i - 1]);
    }
    pk_mesh_free(mesh);
}

static void nothing_is_told_of_two_or_to_who_does_not_take_part(void **state)
{
    (void)state;
    struct pk_mesh *two = mesh_of(2), *three = mesh_of(3);
    struct pk_addr addr = actor("203.0.113.66");
    for (uint32_t i = 1; i <= 4; i++) {
        pk_mesh_report(two, tenant(i), &addr, 20, 15, noon_us);
        pk_mesh_report(three, tenant(i), &addr, 20, 15, noon_us);
    }
    assert_int_equal(pk_mesh_ask(two, tenant(1), &addr, noon_us), PK_MESH_NONE);
    assert_int_equal(pk_mesh_ask(three, tenant(1), &addr, noon_us), PK_MESH_FEW);
    assert_int_equal(pk_mesh_ask(three, tenant(4), &addr, noon_us), PK_MESH_NONE);
    pk_mesh_free(two);
    pk_mesh_free(three);
}

static void one_must_suspect_it_oneself_to_be_told(void **state)
{
    (void)state;
    struct pk_mesh *mesh = mesh_of(4);
    struct pk_addr addr = actor("2001:db8::66"), other = actor("203.0.113.67");
    pk_mesh_report(mesh, tenant(2), &addr, 20, 15, noon_us);
    pk_mesh_report(mesh, tenant(3), &addr, 20, 15, noon_us);
    pk_mesh_report(mesh, tenant(1), &addr, 4.9, 15, noon_us); /* below a third */
    assert_int_equal(pk_mesh_ask(mesh, tenant(1), &addr, noon_us), PK_MESH_NONE);
    pk_mesh_report(mesh, tenant(1), &addr, 5, 15, noon_us);
    assert_int_equal(pk_mesh_ask(mesh, tenant(1), &addr, noon_us), PK_MESH_FEW);
    assert_int_equal(pk_mesh_ask(mesh, tenant(1), &other, noon_us), PK_MESH_NONE);
    pk_mesh_free(mesh);
}

static void who_opts_out_takes_its_reports_along_and_a_day_forgets(void **state)
{
    (void)state;
    struct pk_mesh *mesh = mesh_of(4);
    struct pk_addr addr = actor("203.0.113.66");
    for (uint32_t i = 1; i <= 3; i++) {
        pk_mesh_report(mesh, tenant(i), &addr, 20, 15, noon_us);
    }
    pk_mesh_opt_out(mesh, tenant(3));
    assert_int_equal(pk_mesh_ask(mesh, tenant(1), &addr, noon_us), PK_MESH_ONE);
    assert_int_equal(pk_mesh_ask(mesh, tenant(3), &addr, noon_us), PK_MESH_NONE);
    pk_mesh_report(mesh, tenant(1), &addr, 20, 15, noon_us + 30 * hour_us);
    assert_int_equal(pk_mesh_ask(mesh, tenant(1), &addr, noon_us + 30 * hour_us), PK_MESH_NONE);
    pk_mesh_free(mesh);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_are_told_as_a_class),
        cmocka_unit_test(nothing_is_told_of_two_or_to_who_does_not_take_part),
        cmocka_unit_test(one_must_suspect_it_oneself_to_be_told),
        cmocka_unit_test(who_opts_out_takes_its_reports_along_and_a_day_forgets),
    };
    if (pk_hash_start() != PK_OK) {
        return 1;
    }
    return cmocka_run_group_tests_name("mesh", tests, NULL, NULL);
}
