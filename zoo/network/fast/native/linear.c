/* A linear layer under a loss of the softmax, for training steps of a head on kept features.
 *
 *     logits = x weight' + bias,    loss = mean of cost(softmax(logits), target)
 *
 * The samples are rows of a table, and are read where they stand. Torch's own steps (the copy of the
 * rows, the layer, the loss, the backward pass of each, the optimizer) have little to compute and cost
 * as much again in calls. Here one call makes the logits, the loss and the gradient of the layer; or many
 * steps of Adam.
 *
 * One thread, and the order of all sums is always the same.
 *
 * b counts samples, k classes, i features.
 */

#include <math.h>

#include "lanes.h"

/* Sums that stay in the registers: of the forward pass samples by classes, of the gradient classes by two
 * vectors of features. */
#define LOGIT_SAMPLES (LANES / 4)
#define LOGIT_CLASSES 4
#define GRADIENT_CLASSES (LANES / 2)
#define LINE 16

#define TINIEST 1.17549435e-38f /* 0 has no slope to a power below 1 */

/* Mirrored by zoo.network.fast.native.linear.Problem. */
typedef struct {
    int64_t rows, samples, features, classes;
    float smoothing, gamma, alpha, epsilon; /* of the cost: zoo.protocols.SoftmaxCost */
} problem;

/* Mirrored by Adam and Tuned there. */
typedef struct {
    double beta1, beta2, epsilon;
    int64_t decoupled; /* whether decay is apart from the gradient */
    int64_t before;    /* steps that were made */
} adam;

typedef struct {
    float *value, *gradient, *mean, *square;
    double decay;
} tuned;

typedef struct {
    const float *table;
    const int64_t *places; /* of the samples in the table */
} rows;

INLINE const float *row(const problem *it, rows x, int64_t b) { return x.table + x.places[b] * it->features; }

INLINE void fetch_rows(const problem *it, rows x, int64_t from, int64_t to) {
    for (int64_t b = from; b < least(to, it->samples); b++)
        for (int64_t i = 0; i < it->features; i += LINE) __builtin_prefetch(row(it, x, b) + i, 0, 2);
}

/* Logits of some samples, from b on, and classes. `samples` and `classes` are known to the compiler. */
INLINE void logit_tile(const int samples, const int classes, const problem *it, rows x, int64_t b,
                       const float *weight, const float *bias, float *logits) {
    const float *from[LOGIT_SAMPLES];
    lanes sum[LOGIT_SAMPLES][LOGIT_CLASSES] = {0};
    float rest[LOGIT_SAMPLES][LOGIT_CLASSES] = {0};
    int64_t i = 0;
    for (int s = 0; s < samples; s++) from[s] = row(it, x, b + s);
    for (; i + LANES <= it->features; i += LANES) {
        lanes w[LOGIT_CLASSES];
        for (int k = 0; k < classes; k++) w[k] = load(weight + k * it->features + i);
        for (int s = 0; s < samples; s++) {
            lanes value = load(from[s] + i);
            for (int k = 0; k < classes; k++) sum[s][k] += value * w[k];
        }
    }
    for (; i < it->features; i++)
        for (int s = 0; s < samples; s++)
            for (int k = 0; k < classes; k++) rest[s][k] += from[s][i] * weight[k * it->features + i];
    for (int s = 0; s < samples; s++)
        for (int k = 0; k < classes; k++)
            logits[s * it->classes + k] = sum_of(sum[s][k]) + rest[s][k] + (bias ? bias[k] : 0.0f);
}

INLINE void logit_rows(const int samples, const problem *it, rows x, int64_t b, const float *weight,
                       const float *bias, float *logits) {
#define TILE(CLASSES)                                                                       \
    logit_tile(samples, CLASSES, it, x, b, weight + k * it->features, bias ? bias + k : 0,  \
               logits + b * it->classes + k)
    int64_t k = 0;
    for (; k + LOGIT_CLASSES <= it->classes; k += LOGIT_CLASSES) TILE(LOGIT_CLASSES);
    for (; k + 2 <= it->classes; k += 2) TILE(2);
    for (; k < it->classes; k++) TILE(1);
#undef TILE
}

static void all_logits(const problem *it, rows x, const float *weight, const float *bias, float *logits) {
    int64_t b = 0;
    fetch_rows(it, x, 0, LOGIT_SAMPLES);
    for (; b + LOGIT_SAMPLES <= it->samples; b += LOGIT_SAMPLES) {
        fetch_rows(it, x, b + LOGIT_SAMPLES, b + 2 * LOGIT_SAMPLES);
        logit_rows(LOGIT_SAMPLES, it, x, b, weight, bias, logits);
    }
    for (; b < it->samples; b++) logit_rows(1, it, x, b, weight, bias, logits);
}

/* The cost of a sample and its slope, as functions of c = -log p and others = 1 - p. */
INLINE float cost_of(const problem *it, float c, float others, float *slope) {
    float p = expf(-c), cost = c;
    *slope = 1.0f;
    if (it->gamma != 0.0f) {
        float base = others > TINIEST ? others : TINIEST;
        float below = it->gamma == 2.0f ? base : powf(base, it->gamma - 1.0f), power = below * base;
        cost = power * c;
        *slope = power + it->gamma * below * p * c;
    }
    *slope = it->alpha * *slope + it->epsilon * p;
    return it->alpha * cost + it->epsilon * others;
}

/* The mean loss, and in `slopes` its gradient by the logits.
 *
 * What is small beside the greatest score stays by itself: in 1 + rest, and in greatest + log(1 + rest), the
 * last digits would go of a sample that is right for sure.
 */
static float mean_loss(const problem *it, const int64_t *target, const float *logits, float *slopes) {
    double sum = 0.0;
    float share = it->smoothing / (float)it->classes, count = (float)it->samples;
    for (int64_t b = 0; b < it->samples; b++, logits += it->classes, slopes += it->classes) {
        int64_t top = 0;
        for (int64_t k = 1; k < it->classes; k++) top = logits[k] > logits[top] ? k : top;
        float greatest = logits[top], below = 0.0f, slope;
        float rest = greatest - greatest; /* 0, or NaN where it is not finite */
        for (int64_t k = 0; k < it->classes; k++) {
            slopes[k] = expf(logits[k] - greatest);
            rest += k == top ? 0.0f : slopes[k];
            below += greatest - logits[k];
        }
        float whole = log1pf(rest), c = whole + (greatest - logits[target[b]]), others = -expm1f(-c);
        float cost = cost_of(it, c, others, &slope);
        if (it->smoothing != 0.0f)
            cost = (1.0f - it->smoothing) * c + it->smoothing * (whole + below / (float)it->classes);
        sum += cost;
        slope /= count;
        for (int64_t k = 0; k < it->classes; k++) slopes[k] = slope * (slopes[k] / (1.0f + rest) - share);
        slopes[target[b]] = slope * (it->smoothing - share - others);
    }
    return (float)(sum / count);
}

/* The gradient of some classes and features. On the way the same features of the next samples are fetched. */
INLINE void gradient_tile(const int classes, const int vectors, const problem *it, rows x, int64_t i,
                          const float *slopes, float *to, rows next, int64_t num_next) {
    lanes sum[GRADIENT_CLASSES][2] = {0};
    for (int64_t b = 0; b < it->samples; b++) {
        lanes value[2];
        if (b < num_next)
            for (int v = 0; v < vectors; v++) __builtin_prefetch(row(it, next, b) + i + v * LANES, 0, 2);
        for (int v = 0; v < vectors; v++) value[v] = load(row(it, x, b) + i + v * LANES);
        for (int k = 0; k < classes; k++)
            for (int v = 0; v < vectors; v++) sum[k][v] += slopes[b * it->classes + k] * value[v];
    }
    for (int k = 0; k < classes; k++)
        for (int v = 0; v < vectors; v++) memcpy(to + k * it->features + i + v * LANES, &sum[k][v], sizeof(lanes));
}

INLINE void gradient_rows(const int classes, const problem *it, rows x, const float *slopes, float *to,
                          rows next, int64_t num_next) {
    int64_t i = 0;
    for (; i + 2 * LANES <= it->features; i += 2 * LANES)
        gradient_tile(classes, 2, it, x, i, slopes, to, next, num_next);
    for (; i + LANES <= it->features; i += LANES)
        gradient_tile(classes, 1, it, x, i, slopes, to, next, num_next);
    for (; i < it->features; i++)
        for (int k = 0; k < classes; k++) {
            float sum = 0.0f;
            for (int64_t b = 0; b < it->samples; b++) sum += slopes[b * it->classes + k] * row(it, x, b)[i];
            to[k * it->features + i] = sum;
        }
}

static void gradient(const problem *it, rows x, const float *slopes, float *of_weight, float *of_bias,
                     rows next, int64_t num_next) {
    int64_t k = 0;
#define ROWS(CLASSES)                                                                     \
    gradient_rows(CLASSES, it, x, slopes + k, of_weight + k * it->features, next,         \
                  k < CLASSES ? num_next : 0)
    for (; k + GRADIENT_CLASSES <= it->classes; k += GRADIENT_CLASSES) ROWS(GRADIENT_CLASSES);
    for (; k + 2 <= it->classes; k += 2) ROWS(2);
    for (; k < it->classes; k++) ROWS(1);
#undef ROWS
    for (k = 0; of_bias && k < it->classes; k++) {
        float sum = 0.0f;
        for (int64_t b = 0; b < it->samples; b++) sum += slopes[b * it->classes + k];
        of_bias[k] = sum;
    }
}

/* A step of Adam on one tensor: `step` counts from 1. Kingma and Ba 2015; decoupled: Loshchilov and Hutter
 * 2019.
 */
static void adam_step(const adam *it, const tuned *tensor, int64_t count, double rate, int64_t step) {
    float *restrict value = tensor->value, *restrict mean = tensor->mean, *restrict square = tensor->square;
    const float *restrict slope = tensor->gradient;
    float shrunk = it->decoupled ? (float)(1.0 - rate * tensor->decay) : 1.0f;
    float pull = it->decoupled ? 0.0f : (float)tensor->decay;
    float mean_share = (float)(1.0 - it->beta1), square_share = (float)(1.0 - it->beta2);
    float beta1 = (float)it->beta1, beta2 = (float)it->beta2, epsilon = (float)it->epsilon;
    float length = (float)(rate / (1.0 - pow(it->beta1, (double)step)));
    float spread = (float)(1.0 / sqrt(1.0 - pow(it->beta2, (double)step)));
    for (int64_t i = 0; i < count; i++) {
        float g = slope[i] + pull * value[i];
        mean[i] = beta1 * mean[i] + mean_share * g;
        square[i] = beta2 * square[i] + square_share * g * g;
        value[i] = value[i] * shrunk - length * mean[i] / (sqrtf(square[i]) * spread + epsilon);
    }
}

/* Whether all are in 0..end-1. */
static int all_below(int64_t end, const int64_t *indices, int64_t count) {
    for (int64_t b = 0; b < count; b++)
        if ((uint64_t)indices[b] >= (uint64_t)end) return 0;
    return 1;
}

static float one_gradient(const problem *it, rows x, const int64_t *target, const float *weight,
                          const float *bias, float *logits, float *slopes) {
    all_logits(it, x, weight, bias, logits);
    return mean_loss(it, target, logits, slopes);
}

/* The scores of some samples alone. Returns whether there are such rows. The arguments are as below. */
int64_t zoo_linear_scores(const problem *it, const float *table, const int64_t *places, const float *weight,
                          const float *bias, float *logits) {
    rows x = {table, places};
    if (!all_below(it->rows, places, it->samples)) return 0;
    all_logits(it, x, weight, bias, logits);
    return 1;
}

/* Returns whether there are such rows and classes; else it makes nothing.
 *
 * table       (rows, features)
 * places      (samples): the rows of the table that are meant
 * target      (samples): their classes
 * weight      (classes, features)
 * bias        (classes), or NULL
 * logits      (samples, classes), made
 * loss        one number, made
 * slopes      (samples, classes), made: the gradient by the logits
 * of_weight, of_bias    the gradients of the layer, made; the latter may be NULL
 */
int64_t zoo_linear_gradient(const problem *it, const float *table, const int64_t *places,
                            const int64_t *target, const float *weight, const float *bias, float *logits,
                            float *loss, float *slopes, float *of_weight, float *of_bias) {
    rows x = {table, places};
    if (!all_below(it->rows, places, it->samples) || !all_below(it->classes, target, it->samples)) return 0;
    *loss = one_gradient(it, x, target, weight, bias, logits, slopes);
    gradient(it, x, slopes, of_weight, of_bias, x, 0);
    return 1;
}

/* Steps of Adam one after the other, and how many were made: it ends before one whose loss is not finite.
 * None, and -1, where there is no such row or class.
 *
 * The samples of all steps stand behind each other in places, target and logits; sizes counts them all.
 * bias.value may be NULL.
 *
 * counts      (steps): samples of each
 * rates       (steps, 2): learning rates of weight and bias
 * losses      (steps), made
 * slopes      (most samples of a step, classes), made: those of the last
 */
int64_t zoo_linear_adam(const problem *sizes, const adam *it, const tuned *weight, const tuned *bias,
                        const float *table, const int64_t *places, const int64_t *target, int64_t steps,
                        const int64_t *counts, const double *rates, float *logits, float *losses,
                        float *slopes) {
    problem now = *sizes;
    if (!all_below(now.rows, places, now.samples) || !all_below(now.classes, target, now.samples)) return -1;
    for (int64_t step = 0; step < steps; step++) {
        rows x = {table, places};
        now.samples = counts[step];
        losses[step] = one_gradient(&now, x, target, weight->value, bias->value, logits, slopes);
        if (!isfinite(losses[step])) return step;
        rows next = {table, places + now.samples};
        gradient(&now, x, slopes, weight->gradient, bias->gradient, next,
                 step + 1 < steps ? counts[step + 1] : 0);
        adam_step(it, weight, now.classes * now.features, rates[2 * step], it->before + step + 1);
        if (bias->value) adam_step(it, bias, now.classes, rates[2 * step + 1], it->before + step + 1);
        places += now.samples, target += now.samples, logits += now.samples * now.classes;
    }
    return steps;
}
