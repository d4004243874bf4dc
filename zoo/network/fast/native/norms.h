/* Batch norms that train, on either side of a convolution: see depthwise.h.
 *
 *     y = (x - mean) inverse gain + shift,    inverse = 1 / sqrt(variance + eps)
 *
 * where mean and variance are a channel's over the batch. What hangs on the map is y = x scale + offset,
 * which is made on the way to the next layer. Gradients are those of
 *
 *     of_x = scale (g - mean(g) - (x - mean) inverse^2 mean(g (x - mean))),    g that of y
 *
 * All sums are in float32 over a few pixels, in double beyond.
 */

#pragma once

#include <math.h>

#include "depthwise.h"

/* Mirrored by zoo.network.fast.native.kernels.Norm. Numbers of the channels, each. */
typedef struct {
    const float *gain, *shift;
    float *running_mean, *running_variance; /* brought up to date by the forward pass, unless NULL */
    float *batch;                           /* (4, channels): mean, inverse, scale, offset */
    float *of_gain, *of_shift;              /* gradients, written by the backward pass */
    double momentum, eps;
} norm;

INLINE const float *mean_of(const norm *it) { return it->batch; }
INLINE const float *inverse_of(const norm *it, int64_t channels) { return it->batch + channels; }
INLINE const float *scale_of(const norm *it, int64_t channels) { return it->batch + 2 * channels; }
INLINE const float *offset_of(const norm *it, int64_t channels) { return it->batch + 3 * channels; }

/* Two sums of each channel that a thread makes. Forward: mean and sum of squares about it, of `count`
 * pixels. Backward: sums of g and g (x - mean). The parts are those of a few pixels, which backward are
 * the `count`.
 */
typedef struct {
    double *first, *second;
    float *first_part, *second_part;
    int64_t count;
} sums;

INLINE int64_t size_of_sums(int64_t channels) { return 6 * whole_lines(channels); }

static sums cleared_sums(float *memory, int64_t channels) {
    int64_t each = whole_lines(channels);
    clear(memory, size_of_sums(channels));
    return (sums){.first = (double *)memory, .second = (double *)memory + each,
                  .first_part = memory + 4 * each, .second_part = memory + 5 * each};
}

/* Pixels that are summed in float32, and that stay near. */
INLINE int64_t few_pixels(int64_t channels) { return most(1, least(64, (16 << 10) / channels)); }

/* Spreads a row over blocks of channels, normed and activated. */
static void spread_activated(float *restrict to, const float *restrict from, int64_t pixels,
                             int64_t channels, int64_t apart, const norm *norm, int64_t kind) {
    const float *x = from;
#define LOOP(KIND) SPREAD(activated(from[c], KIND))
#define NORMED(KIND) SPREAD(activated(from[c] * scale[c] + offset[c], KIND))
    if (norm) {
        const float *restrict scale = scale_of(norm, channels), *restrict offset = offset_of(norm, channels);
        FOR_ITS_KIND(kind, NORMED)
    } else {
        FOR_ITS_KIND(kind, LOOP)
    }
#undef LOOP
#undef NORMED
}
