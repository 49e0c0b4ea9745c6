/* Secrets stay in the process. */
#ifndef PICKET_HIDE_H
#define PICKET_HIDE_H

/* No core dumps, and nobody but root attaches to this process or reads its memory. The first thing a program does: tokens and keys come with arguments and environment. Once more after a
 * change of user, which undoes the second half. In a build with sanitizers that half is left out, because what looks for leaks at the end has to attach. Children inherit the first half. */
void pk_hide_memory(void);

#endif
