/* A depthwise convolution between two activations, forward and backward, for training on a CPU.
 *
 *     z = after(convolution(before(x)) + bias)
 *
 * before and after may each be a batch norm and an activation: see norms.h.
 *
 * Layer by layer, torch passes over the maps of such a block once or more for each of them, and each pass
 * waits for memory. Here both ways read what they need once and write what they make once: activations,
 * norms and their slopes are computed on the way.
 *
 * Images pass a strip of rows at a time through buffers that stay in the L2 cache of a core. In them
 * LANES channels stand together and rows have a border of zeros, so that no loop asks where a map ends.
 * While a strip is computed, the next one is fetched.
 *
 * Maps are float32, (images, rows, columns, channels) without gaps. Each thread has images of its own,
 * and the order of all sums depends on the number of threads alone.
 *
 *     depthwise.h    what both ways share: the layer, activations, buffers
 *     norms.h        batch norms
 *     forward.c      zoo_depthwise_forward
 *     backward.c     zoo_depthwise_backward
 *
 * h, w count rows and columns of the input; p, q those of the output; k, l those of the filter. x is the
 * input, z the output.
 */

#pragma once

#include <stdlib.h>

#include "lanes.h"

#if defined(__clang__) || !defined(__GNUC__)
#error "gcc is needed: the threads of other compilers are not those of torch"
#endif

#define STRIP_BYTES (192 << 10) /* of 96 to 400 KiB no other was faster, with 1 MiB of L2 cache */
#define LINE 16                 /* floats in a line of the cache */

typedef enum { NONE, RELU, RELU6, HARDSWISH, SILU } activation;

/* Mirrored by zoo.network.fast.native.Layer. */
typedef struct {
    int64_t images, channels;
    int64_t height, width, out_height, out_width;
    int64_t kernel_height, kernel_width, stride_height, stride_width;
    int64_t top, left; /* zeros before the first row and column; those behind follow from the sizes */
    int64_t before, after; /* activations */
    int64_t threads;
} layer;

INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t ceiling(int64_t a, int64_t b) { return (a + b - 1) / b; } /* of a / b, with a >= 0 */

INLINE int64_t whole_lines(int64_t count) { return most(1, ceiling(count, LINE)) * LINE; }

INLINE void store(float *to, lanes value, int64_t count) {
    if (count == LANES)
        memcpy(to, &value, sizeof value);
    else
        for (int64_t i = 0; i < count; i++) to[i] = value[i];
}

/* Activations. Whatever is not a number stays so, as in torch. */

INLINE float exponential(float x) { /* of -87 to 87, to 2e-7 of the value */
    float whole = __builtin_rintf(x * 1.44269504f);
    float rest = (x - whole * 0.693145752f) - whole * 1.42860677e-6f; /* ln 2, in two parts */
    float sum = 1.0f / 5040;
    sum = sum * rest + 1.0f / 720;
    sum = sum * rest + 1.0f / 120;
    sum = sum * rest + 1.0f / 24;
    sum = sum * rest + 1.0f / 6;
    sum = sum * rest + 0.5f;
    sum = sum * rest + 1.0f;
    sum = sum * rest + 1.0f;
    int32_t bits = ((int32_t)whole + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return sum * power;
}

INLINE float sigmoid(float x) {
    float bounded = x < -87.0f ? -87.0f : x;
    bounded = bounded > 87.0f ? 87.0f : bounded;
    return x < -87.0f ? 0.0f : 1.0f / (1.0f + exponential(-bounded));
}

INLINE float activated(float x, const activation kind) {
    float gate;
    switch (kind) {
    case RELU:
        return x < 0.0f ? 0.0f : x;
    case RELU6:
        x = x < 0.0f ? 0.0f : x;
        return x > 6.0f ? 6.0f : x;
    case HARDSWISH:
        gate = x + 3.0f;
        gate = gate < 0.0f ? 0.0f : gate;
        gate = gate > 6.0f ? 6.0f : gate;
        return x * gate * (1.0f / 6.0f);
    case SILU:
        return x * sigmoid(x);
    default:
        return x;
    }
}

/* The gradient of what an activation was given, x. For RELU and RELU6 x may be its output, too. */
INLINE float differentiated(float gradient, float x, const activation kind) {
    float gate;
    switch (kind) {
    case RELU:
        return x <= 0.0f ? 0.0f : gradient;
    case RELU6:
        gradient = x <= 0.0f ? 0.0f : gradient;
        return x >= 6.0f ? 0.0f : gradient;
    case HARDSWISH:
        gate = gradient * (x * (1.0f / 3.0f) + 0.5f);
        gate = x <= -3.0f ? 0.0f : gate;
        return x >= 3.0f ? gradient : gate;
    case SILU:
        gate = sigmoid(x);
        return gradient * gate * (1.0f + x * (1.0f - gate));
    default:
        return gradient;
    }
}

/* Runs a loop in a version of its own for each activation, so that the loop asks for none. */
#define FOR_ITS_KIND(kind, LOOP) \
    switch (kind) {              \
    case RELU:                   \
        LOOP(RELU);              \
        break;                   \
    case RELU6:                  \
        LOOP(RELU6);             \
        break;                   \
    case HARDSWISH:              \
        LOOP(HARDSWISH);         \
        break;                   \
    case SILU:                   \
        LOOP(SILU);              \
        break;                   \
    default:                     \
        LOOP(NONE);              \
    }

/* The same for the loops that a compiler should know the width of a filter in. */
#define WITH_WIDTH(WIDTH, LOOP) \
    case WIDTH:                 \
        LOOP(WIDTH);            \
        break;

/* Spreads a row of pixels over blocks of LANES channels, `apart` floats from block to block. Channel c
 * of a pixel becomes EXPRESSION.
 */
#define SPREAD(EXPRESSION)                                                               \
    for (int64_t i = 0; i < pixels; i++, to += LANES, from += channels, x += channels) { \
        float *block = to;                                                               \
        int64_t first = 0;                                                               \
        for (; first + LANES <= channels; first += LANES, block += apart)                \
            for (int64_t lane = 0; lane < LANES; lane++) {                               \
                int64_t c = first + lane;                                                \
                block[lane] = EXPRESSION;                                                \
            }                                                                            \
        for (int64_t c = first; c < channels; c++) block[c - first] = EXPRESSION;        \
    }

/* Brings what will be read or written soon into the cache, as far as the map goes. */
INLINE void fetch_to_read(const float *map, int64_t size, int64_t at, int64_t count) {
    for (int64_t i = at; i < least(at + count, size); i += LINE) __builtin_prefetch(map + i, 0, 2);
}

INLINE void fetch_to_write(const float *map, int64_t size, int64_t at, int64_t count) {
    for (int64_t i = at; i < least(at + count, size); i += LINE) __builtin_prefetch(map + i, 1, 2);
}

/* Returns memory that begins with a line of the cache, or NULL. */
static float *room(int64_t count) {
    void *memory;
    return posix_memalign(&memory, LINE * sizeof(float), (size_t)count * sizeof(float)) ? NULL : memory;
}

static void clear(float *memory, int64_t count) { memset(memory, 0, (size_t)count * sizeof(float)); }

INLINE int64_t num_blocks(const layer *it) { return ceiling(it->channels, LANES); }

/* Columns of a buffer for rows of the input: the border before them is `left` wide. */
INLINE int64_t num_input_columns(const layer *it) {
    return most(it->left + it->width, (it->out_width - 1) * it->stride_width + it->kernel_width);
}

/* The images of a thread are those from its first one to that of the next thread. */
INLINE int64_t first_image(const layer *it, int64_t thread) { return it->images * thread / it->threads; }

/* A loop over the threads, each of them for itself. */
#define EACH_THREAD(it)                                                             \
    _Pragma("omp parallel for num_threads((int)(it)->threads) schedule(static, 1)") \
    for (int64_t thread = 0; thread < (it)->threads; thread++)

/* Returns a weight (channels, taps) as (blocks, taps, LANES), zero where channels end; or NULL. */
static float *blocked_weight(const layer *it, const float *weight) {
    int64_t taps = it->kernel_height * it->kernel_width;
    int64_t count = whole_lines(num_blocks(it) * taps * LANES);
    float *blocked = room(count);
    if (!blocked) return NULL;
    clear(blocked, count);
    for (int64_t c = 0; c < it->channels; c++)
        for (int64_t tap = 0; tap < taps; tap++)
            blocked[(c / LANES * taps + tap) * LANES + c % LANES] = weight[c * taps + tap];
    return blocked;
}
