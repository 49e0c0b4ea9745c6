/* Tenants, sites and sensors are different types: mixing them must not compile. 0 is "none". */
#ifndef PICKET_IDS_H
#define PICKET_IDS_H

#include <stdint.h>

struct pk_tenant_id {
    uint32_t v;
};
struct pk_site_id {
    uint32_t v;
};
struct pk_sensor_id {
    uint32_t v;
};

#endif
