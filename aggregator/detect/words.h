/* The built-in word set. */
#ifndef DETECT_WORDS_H
#define DETECT_WORDS_H

#include <stddef.h>

extern const char *const pk_words[];
extern const size_t pk_n_words;

#endif
