/* Vectors of float32, as wide as the processor's. */

#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#else
#define LANES 8
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

INLINE lanes load(const float *from) {
    lanes value;
    memcpy(&value, from, sizeof value);
    return value;
}

/* The order of the sum is always the same. */
INLINE float sum_of(lanes value) {
    float sums[LANES];
    memcpy(sums, &value, sizeof sums);
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++) sums[i] += sums[i + width];
    return sums[0];
}
