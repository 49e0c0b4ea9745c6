/* Random numbers that are the same on every machine: splitmix64 (Steele, Lea, Flood 2014), one small state a stream.
 *
 * A stream is begun from (seed, purpose, two numbers), so that every hour of every mix can be made by itself, in any order. */
#ifndef TESTS_EVAL_RNG_H
#define TESTS_EVAL_RNG_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ev_rng {
    uint64_t state;
};

static inline uint64_t ev_mix64(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* One number out of several: for properties that belong to a thing (is this resolver a validator?) and never change. */
static inline uint64_t ev_hash3(uint64_t a, uint64_t b, uint64_t c)
{
    return ev_mix64(ev_mix64(ev_mix64(a + UINT64_C(0x9e3779b97f4a7c15)) ^ b) ^
                    (c * UINT64_C(0xd6e8feb86659fd93)));
}

static inline struct ev_rng ev_rng_begin(uint64_t seed, uint64_t purpose, uint64_t a, uint64_t b)
{
    return (struct ev_rng){ev_hash3(ev_hash3(seed, purpose, a), b, 0x5eed)};
}

static inline uint64_t ev_rng_next(struct ev_rng *rng)
{
    return ev_mix64(rng->state += UINT64_C(0x9e3779b97f4a7c15));
}

/* 0 .. n-1; n >= 1. */
static inline uint32_t ev_rng_below(struct ev_rng *rng, uint32_t n)
{
    return (uint32_t)(((ev_rng_next(rng) >> 32) * n) >> 32);
}

/* [0, 1) */
static inline double ev_rng_unit(struct ev_rng *rng)
{
    return (double)(ev_rng_next(rng) >> 11) * 0x1p-53;
}

static inline bool ev_rng_chance(struct ev_rng *rng, double p)
{
    return ev_rng_unit(rng) < p;
}

/* Rank 0 .. n-1 with weight about 1/(rank+1). */
static inline uint32_t ev_rng_zipf(struct ev_rng *rng, uint32_t n)
{
    uint32_t rank = (uint32_t)exp(ev_rng_unit(rng) * log((double)n + 1.0)) - 1;
    return rank < n ? rank : n - 1;
}

/* Poisson; above 64 by the normal law, which is close enough for volumes. */
static inline uint32_t ev_rng_poisson(struct ev_rng *rng, double mean)
{
    if (mean > 64) {
        double u = ev_rng_unit(rng) + 1e-300, v = ev_rng_unit(rng);
        double x = mean + sqrt(mean) * sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
        return x < 0 ? 0 : (uint32_t)(x + 0.5);
    }
    uint32_t n = 0;
    for (double p = ev_rng_unit(rng), limit = exp(-mean); p > limit; p *= ev_rng_unit(rng)) {
        n++;
    }
    return n;
}

/* Index into weights by its share of their sum (any sum). */
static inline size_t ev_rng_pick(struct ev_rng *rng, const double *weights, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += weights[i];
    }
    double at = ev_rng_unit(rng) * sum;
    for (size_t i = 0; i + 1 < n; i++) {
        if ((at -= weights[i]) < 0) {
            return i;
        }
    }
    return n - 1;
}

#endif
