/* What the process may still do once everything is open. */
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "picket/log.h"

#include "daemon.h"
#include "privileges.h"

static void add_port(struct pk_privileges_rules *rules, const char *address)
{
    const char *colon = strrchr(address, ':');
    unsigned long port = colon ? strtoul(colon + 1, NULL, 10) : 0;
    if (port > 0 && port <= UINT16_MAX) {
        rules->tcp_ports[rules->n_tcp_ports++] = (uint16_t)port;
    }
}

/* Ports of tcp:// endpoints, configured and learned; 7353 to 7359 for those a BYE or a CONFIG names while we run; and 53 for name servers that are asked by TCP. */
static void endpoint_ports(const struct daemon *d, struct pk_privileges_rules *rules)
{
    const struct pk_delivery_options *delivery = &d->uplink.delivery;
    rules->tcp_ports[rules->n_tcp_ports++] = 53;
    for (uint16_t port = 7353; port <= 7359; port++) {
        rules->tcp_ports[rules->n_tcp_ports++] = port;
    }
    for (size_t i = 0; i < delivery->n_endpoints; i++) {
        add_port(rules, delivery->endpoints[i].address);
    }
    for (size_t i = 0; i < delivery->learned.n; i++) {
        add_port(rules, delivery->learned.endpoints[i].endpoint.address);
    }
}

/* Folders, not the files in them: an editor, or a mounted configuration, puts a new file in the place of the old. */
int daemon_confine(const struct daemon *d)
{
    char error[PK_PRIVILEGES_ERROR_SIZE], config_path[PATH_MAX], scope_path[PATH_MAX];
    char key_path[PATH_MAX];
    const struct pk_sensor_config *config = &d->settings->config;
    struct pk_privileges_done done;
    snprintf(config_path, sizeof config_path, "%s", d->config_path);
    snprintf(scope_path, sizeof scope_path, "%s", config->scope ? config->scope : d->config_path);
    snprintf(key_path, sizeof key_path, "%s", d->key_file);
    const char *key_folder = dirname(key_path);
    struct pk_privileges_rules rules = {
        .writable = {config->spool_folder},
        .n_writable = config->spool_folder != NULL,
        .readable = {dirname(config_path), dirname(scope_path), key_folder},
        .n_readable = 3,
    };
    if (d->uplink.delivery.has_next_key) { /* to take the place of the present one */
        rules.writable[rules.n_writable++] = key_folder;
    }
    if (config->ring_folder) {
        rules.writable[rules.n_writable++] = config->ring_folder;
    }
    endpoint_ports(d, &rules);
    if (!config->has_sandbox) {
        pk_warn("privileges", "sandbox=off: no seccomp, no Landlock");
        return EX_OK;
    }
    if (!pk_privileges_confine(&rules, &done, error, sizeof error)) {
        return daemon_fail(EX_NOPERM, error);
    }
    pk_info("privileges", "uid=%u seccomp=%s landlock=%d", (unsigned)geteuid(),
        done.has_seccomp ? "on" : "off", done.landlock_abi);
    return EX_OK;
}
