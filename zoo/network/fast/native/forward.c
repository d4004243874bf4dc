/* The forward pass of a block: see depthwise.h. */

#include "norms.h"

/* Takes pixels of a map into mean and squares. */
static void see(sums *own, const float *x, int64_t pixels, int64_t channels) {
    float *restrict mean = own->first_part, *restrict squares = own->second_part;
    int64_t few = few_pixels(channels);
    for (; pixels > 0; pixels -= few, x += few * channels) {
        int64_t part = least(few, pixels);
        clear(mean, channels);
        for (int64_t i = 0; i < part; i++)
            for (int64_t c = 0; c < channels; c++) mean[c] += x[i * channels + c];
        clear(squares, channels);
        for (int64_t c = 0; c < channels; c++) mean[c] *= 1.0f / (float)part;
        for (int64_t i = 0; i < part; i++)
            for (int64_t c = 0; c < channels; c++) {
                float apart = x[i * channels + c] - mean[c];
                squares[c] += apart * apart;
            }
        double share = (double)part / (double)(own->count + part), seen = (double)own->count * share;
        for (int64_t c = 0; c < channels; c++) {
            double apart = (double)mean[c] - own->first[c];
            own->first[c] += apart * share;
            own->second[c] += (double)squares[c] + apart * apart * seen;
        }
        own->count += part;
    }
}

/* Makes the norm of what the threads have seen. */
static void settle(const norm *it, const sums *threads, int64_t num_threads, int64_t channels) {
    for (int64_t c = 0; c < channels; c++) {
        double count = 0, mean = 0, squares = 0;
        for (int64_t thread = 0; thread < num_threads; thread++) {
            const sums *one = threads + thread;
            double share = (double)one->count / (count + (double)one->count);
            double apart = one->first[c] - mean;
            mean += apart * share;
            squares += one->second[c] + apart * apart * count * share;
            count += (double)one->count;
        }
        double inverse = 1 / sqrt(squares / count + it->eps), scale = inverse * (double)it->gain[c];
        it->batch[c] = (float)mean;
        it->batch[channels + c] = (float)inverse;
        it->batch[2 * channels + c] = (float)scale;
        it->batch[3 * channels + c] = (float)((double)it->shift[c] - mean * scale);
        if (it->running_mean) {
            float *running = it->running_mean + c, *spread = it->running_variance + c;
            *running = (float)((1 - it->momentum) * (double)*running + it->momentum * mean);
            *spread = (float)((1 - it->momentum) * (double)*spread + it->momentum * squares / (count - 1));
        }
    }
}

/* `to` may be `from`. */
static void activate(float *to, const float *from, int64_t count, int64_t kind) {
#define LOOP(KIND) \
    for (int64_t i = 0; i < count; i++) to[i] = activated(from[i], KIND)
    FOR_ITS_KIND(kind, LOOP)
#undef LOOP
}

static void activate_normed(float *restrict to, const float *restrict from, int64_t pixels, int64_t channels,
                            const norm *norm, int64_t kind) {
    const float *restrict scale = scale_of(norm, channels), *restrict offset = offset_of(norm, channels);
#define LOOP(KIND)                                                         \
    for (int64_t i = 0; i < pixels; i++, to += channels, from += channels) \
        for (int64_t c = 0; c < channels; c++) to[c] = activated(from[c] * scale[c] + offset[c], KIND)
    FOR_ITS_KIND(kind, LOOP)
#undef LOOP
}

typedef struct {
    const float *x, *weight, *bias;
    const norm *before, *after;
    float *z, *convolved;
    int64_t x_size, z_size;
    int64_t strip, input_rows, input_columns; /* rows of the output at a time; sizes of the buffer */
} forward_pass;

/* Some neighbouring outputs of a block of channels. `num` and `width` are known to the compiler. */
INLINE void output_tile(const int num, const int64_t width, int64_t step, const float *input,
                        int64_t input_row, const float *weight, int64_t kernel_rows, lanes bias,
                        float *to, int64_t pixel, int64_t count) {
    lanes sum[4];
    for (int i = 0; i < num; i++) sum[i] = bias;
    for (int64_t row = 0; row < kernel_rows; row++, input += input_row, weight += width * LANES)
        for (int64_t column = 0; column < width; column++) {
            lanes tap = load(weight + column * LANES);
            for (int i = 0; i < num; i++) sum[i] += load(input + i * step + column * LANES) * tap;
        }
    for (int i = 0; i < num; i++) store(to + i * pixel, sum[i], count);
}

INLINE void output_row(const int64_t width, int64_t outputs, int64_t step, const float *input,
                       int64_t input_row, const float *weight, int64_t kernel_rows, lanes bias,
                       float *to, int64_t pixel, int64_t count) {
#define TILE(NUM)                                                                             \
    output_tile(NUM, width, step, input + q * step, input_row, weight, kernel_rows, bias,     \
                to + q * pixel, pixel, count)
    int64_t q = 0;
    for (; q + 4 <= outputs; q += 4) TILE(4);
    for (; q + 2 <= outputs; q += 2) TILE(2);
    for (; q < outputs; q++) TILE(1);
#undef TILE
}

/* Row p of an image's output, from a buffer that begins with row h0 of the input. */
static void forward_row(const layer *it, const forward_pass *pass, const float *buffer, int64_t image,
                        int64_t p, int64_t p0, int64_t h0, int64_t h1) {
    int64_t x_row = it->width * it->channels, z_row = it->out_width * it->channels;
    int64_t column = pass->input_columns * LANES, apart = pass->input_rows * column;
    int64_t h = p * it->stride_height - it->top; /* where the filter lies; rows k0 to k1 see the map */
    int64_t k0 = most(0, -h), k1 = least(it->kernel_height, it->height - h);
    int64_t at = (image * it->out_height + p) * z_row;
    int64_t ahead = (image * it->height + h1 + (p - p0) * it->stride_height) * x_row;
    float *to = pass->convolved ? pass->convolved : pass->z;
    for (int64_t block = 0; block < num_blocks(it); block++) {
        int64_t first = block * LANES, count = least(LANES, it->channels - first);
        for (int64_t row = 0; row < it->stride_height; row++)
            fetch_to_read(pass->x, pass->x_size, ahead + row * x_row + it->width * first, it->width * LANES);
        fetch_to_write(to, pass->z_size, at + z_row + it->out_width * first, it->out_width * LANES);

        lanes bias = {0};
        if (pass->bias) memcpy(&bias, pass->bias + first, (size_t)count * sizeof(float));
        const float *input = buffer + block * apart + (h + k0 - h0) * column;
        const float *taps = pass->weight + (block * it->kernel_height + k0) * it->kernel_width * LANES;
#define ROW(WIDTH)                                                                                   \
    output_row(WIDTH, it->out_width, it->stride_width * LANES, input, column, taps, k1 - k0, bias,   \
               to + at + first, it->channels, count)
        switch (it->kernel_width) {
            WITH_WIDTH(3, ROW)
            WITH_WIDTH(5, ROW)
            WITH_WIDTH(7, ROW)
        default:
            ROW(it->kernel_width);
        }
#undef ROW
    }
    if (!pass->after && (pass->convolved || it->after != NONE))
        activate(pass->z + at, to + at, z_row, it->after);
}

/* `seen` are statistics of what is convolved, for the norm after. */
static void forward_images(const layer *it, const forward_pass *pass, float *buffer, sums *seen,
                           int64_t begin, int64_t end) {
    int64_t x_row = it->width * it->channels, pixels = it->out_height * it->out_width;
    int64_t column = pass->input_columns * LANES, apart = pass->input_rows * column;
    for (int64_t image = begin; image < end; image++)
        for (int64_t p0 = 0; p0 < it->out_height; p0 += pass->strip) {
            int64_t p1 = least(it->out_height, p0 + pass->strip);
            int64_t h0 = most(0, p0 * it->stride_height - it->top);
            int64_t h1 = least(it->height, (p1 - 1) * it->stride_height - it->top + it->kernel_height);
            for (int64_t h = h0; h < h1; h++)
                spread_activated(buffer + (h - h0) * column + it->left * LANES,
                                 pass->x + (image * it->height + h) * x_row, it->width, it->channels,
                                 apart, pass->before, it->before);
            for (int64_t p = p0; p < p1; p++) forward_row(it, pass, buffer, image, p, p0, h0, h1);
            if (pass->after)
                see(seen, pass->convolved + (image * pixels + p0 * it->out_width) * it->channels,
                    (p1 - p0) * it->out_width, it->channels);
        }
}

/* Writes z, and what the norm or the activation after was given into `convolved` unless it is NULL.
 *
 * before, after  norms; NULL: there is none. With one after, `convolved` is not NULL
 * x              (images, height, width, channels)
 * weight         (channels, kernel_height, kernel_width)
 * bias           (channels), or NULL
 * z, convolved   (images, out_height, out_width, channels)
 *
 * Returns 0, or 1 when there is no memory.
 */
int zoo_depthwise_forward(const layer *it, const norm *before, const norm *after, const float *x,
                          const float *weight, const float *bias, float *z, float *convolved) {
    int64_t columns = num_input_columns(it), channels = it->channels;
    int64_t rows = STRIP_BYTES / (columns * channels * (int64_t)sizeof(float));
    int64_t strip = most(0, rows - it->kernel_height) / it->stride_height + 1;
    strip = least(strip, it->out_height);
    float *blocked = blocked_weight(it, weight);
    forward_pass pass = {
        .x = x, .weight = blocked, .bias = bias, .z = z, .convolved = convolved,
        .before = before, .after = after,
        .x_size = it->images * it->height * it->width * channels,
        .z_size = it->images * it->out_height * it->out_width * channels,
        .strip = strip,
        .input_rows = (strip - 1) * it->stride_height + it->kernel_height,
        .input_columns = columns,
    };
    int64_t buffer = whole_lines(num_blocks(it) * pass.input_rows * columns * LANES);
    int64_t size = buffer + size_of_sums(channels);
    float *memory = room(it->threads * size);
    sums *seen = malloc((size_t)it->threads * sizeof *seen);
    int failed = !blocked || !memory || !seen;
    if (!failed) {
        int64_t x_size = it->height * it->width * channels;
        int64_t z_size = it->out_height * it->out_width * channels;
        if (before) {
            EACH_THREAD(it) {
                int64_t begin = first_image(it, thread), end = first_image(it, thread + 1);
                seen[thread] = cleared_sums(memory + thread * size + buffer, channels);
                see(seen + thread, x + begin * x_size, (end - begin) * it->height * it->width, channels);
            }
            settle(before, seen, it->threads, channels);
        }
        EACH_THREAD(it) {
            float *mine = memory + thread * size;
            clear(mine, buffer);
            seen[thread] = cleared_sums(mine + buffer, channels);
            forward_images(it, &pass, mine, seen + thread, first_image(it, thread),
                           first_image(it, thread + 1));
        }
        if (after) {
            settle(after, seen, it->threads, channels);
            EACH_THREAD(it) {
                int64_t begin = first_image(it, thread), end = first_image(it, thread + 1);
                activate_normed(z + begin * z_size, convolved + begin * z_size,
                                (end - begin) * it->out_height * it->out_width, channels, after, it->after);
            }
        }
    }
    free(blocked);
    free(memory);
    free(seen);
    return failed;
}
