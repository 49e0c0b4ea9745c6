-- Of a health row of a live capture: its interfaces, [[name, state (enum pk_iface_state), packets, dropped by the kernel, by the interface]...], counted since the row before.
alter table health add column interfaces jsonb;
