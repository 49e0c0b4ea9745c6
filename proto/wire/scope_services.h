/* The list behind PK_SCOPE_BUILTIN's services. Private to proto/wire. */
#ifndef WIRE_SCOPE_SERVICES_H
#define WIRE_SCOPE_SERVICES_H

extern const char *const pk_scope_services[];
extern const unsigned pk_n_scope_services;

#endif
