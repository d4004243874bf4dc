/* Squeeze and excitation: the mean of each map, and maps times a gate that is made of it.
 *
 *     mean = sum(x) / pixels,    y = x gate
 *
 * torch reads and writes maps thirteen times for it, both ways together; here it is seven. Maps are float32,
 * (images, pixels, channels) without gaps; means, gates and their gradients are (images, channels). Each
 * image is computed by one thread, so the number of threads changes no bit.
 *
 * All functions return 0.
 */

#include "lanes.h"

/* Mirrored by zoo.network.fast.native.kernels.Maps. */
typedef struct {
    int64_t images, pixels, channels, threads;
} maps;

#define EACH_IMAGE(it)                                                           \
    _Pragma("omp parallel for num_threads((int)(it)->threads) schedule(static)") \
    for (int64_t image = 0; image < (it)->images; image++)

#define PANEL 2048    /* channels that are summed side by side, all of most maps */
#define FEW_PIXELS 64 /* are summed before their sum is added to that of all */

/* Sums EXPRESSION, of channel c of pixel i, over the pixels of an image. */
#define SUM_OVER_PIXELS(sum, pixels, channels, EXPRESSION)                                  \
    for (int64_t first = 0; first < (channels); first += PANEL) {                           \
        int64_t last = least((channels), first + PANEL);                                    \
        float part[PANEL];                                                                  \
        for (int64_t c = first; c < last; c++) (sum)[c] = 0;                                \
        for (int64_t begin = 0; begin < (pixels); begin += FEW_PIXELS) {                    \
            memset(part, 0, (size_t)(last - first) * sizeof *part);                         \
            for (int64_t i = begin; i < least((pixels), begin + FEW_PIXELS); i++)           \
                for (int64_t c = first; c < last; c++) part[c - first] += (EXPRESSION);     \
            for (int64_t c = first; c < last; c++) (sum)[c] += part[c - first];             \
        }                                                                                   \
    }

int zoo_mean(const maps *it, const float *x, float *mean) {
    int64_t channels = it->channels, size = it->pixels * channels;
    EACH_IMAGE(it) {
        const float *restrict from = x + image * size;
        float *restrict sum = mean + image * channels;
        SUM_OVER_PIXELS(sum, it->pixels, channels, from[i * channels + c])
        for (int64_t c = 0; c < channels; c++) sum[c] /= (float)it->pixels;
    }
    return 0;
}

int zoo_scale(const maps *it, const float *x, const float *gate, float *y) {
    int64_t channels = it->channels, size = it->pixels * channels;
    EACH_IMAGE(it) {
        const float *restrict from = x + image * size, *restrict by = gate + image * channels;
        float *restrict to = y + image * size;
        for (int64_t i = 0; i < it->pixels; i++)
            for (int64_t c = 0; c < channels; c++) to[i * channels + c] = from[i * channels + c] * by[c];
    }
    return 0;
}

/* Writes the gradient of the gate; `gradient` is that of y. */
int zoo_scale_backward(const maps *it, const float *gradient, const float *x, float *of_gate) {
    int64_t channels = it->channels, size = it->pixels * channels;
    EACH_IMAGE(it) {
        const float *restrict from = gradient + image * size, *restrict map = x + image * size;
        float *restrict sum = of_gate + image * channels;
        SUM_OVER_PIXELS(sum, it->pixels, channels, from[i * channels + c] * map[i * channels + c])
    }
    return 0;
}

/* Writes the gradient of x, of those of y and of the mean. */
int zoo_mean_backward(const maps *it, const float *gradient, const float *gate, const float *of_mean,
                      float *of_x) {
    int64_t channels = it->channels, size = it->pixels * channels;
    float share = 1.0f / (float)it->pixels;
    EACH_IMAGE(it) {
        const float *restrict from = gradient + image * size;
        const float *restrict by = gate + image * channels, *restrict level = of_mean + image * channels;
        float *restrict to = of_x + image * size;
        for (int64_t i = 0; i < it->pixels; i++)
            for (int64_t c = 0; c < channels; c++)
                to[i * channels + c] = from[i * channels + c] * by[c] + level[c] * share;
    }
    return 0;
}
