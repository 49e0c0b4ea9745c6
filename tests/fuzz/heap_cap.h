/* A cap on what one input makes a decoder hold: 64 MiB of heap at any moment, all allocations together. Above it the run ends, as a finding of the fuzzer or a failed replay of the corpus.
 *
 * Counted by hooks of the address sanitizer; without it heap_cap_begin does nothing. One thread. */
#ifndef FUZZ_HEAP_CAP_H
#define FUZZ_HEAP_CAP_H

/* First in LLVMFuzzerTestOneInput, after what is made once for all inputs: counts from zero. */
void heap_cap_begin(void);

#endif
