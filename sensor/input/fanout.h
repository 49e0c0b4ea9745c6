/* Packet sockets of this process that share an interface's packets (PACKET_FANOUT, packet(7)): a group of its own for each interface, which no other process gets into.
 *
 * The first member has the kernel find a number that nobody in the network namespace uses (Linux 4.12); older kernels get one made of process and interface, which two processes
 * in namespaces of their own may both come to. Safe from any thread. */
#ifndef SENSOR_FANOUT_H
#define SENSOR_FANOUT_H

struct pk_fanout;

/* A bound packet socket joins this process's group of the interface. NULL: errno. */
struct pk_fanout *pk_fanout_join(int fd, unsigned ifindex);
/* Before the socket is closed: its number may then be another's. NULL is allowed. */
void pk_fanout_leave(struct pk_fanout *group);

#endif
