/* Giving up root after the capture is open. */
#ifndef SENSOR_PRIVILEGES_H
#define SENSOR_PRIVILEGES_H

#include <stdbool.h>
#include <stddef.h>

/* Becomes `user` (NULL: nobody) when running as root, with no way back and no new privileges by exec; otherwise only the latter. False with the sentence. */
bool pk_privileges_drop(const char *user, char *out_error, size_t error_size);

#endif
