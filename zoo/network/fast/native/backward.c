/* The backward pass of a block: see depthwise.h. */

#include "norms.h"

/* Adds the parts, of `count` pixels, to the sums of a thread. */
static void flush(sums *own, int64_t channels) {
    for (int64_t c = 0; c < channels; c++) {
        own->first[c] += (double)own->first_part[c];
        own->second[c] += (double)own->second_part[c];
    }
    clear(own->first_part, channels);
    clear(own->second_part, channels);
    own->count = 0;
}

/* What the gradient of x is made of, besides scale and mean: of_x = scale g + (x - mean) slope + level. */
typedef struct {
    float *slope, *level;
} gradient_of_norm;

/* Writes the gradients of gain and shift, from the sums of all threads. */
static void settle_gradient(const norm *it, const sums *threads, int64_t num_threads, double count,
                            int64_t channels, gradient_of_norm to) {
    for (int64_t c = 0; c < channels; c++) {
        double sum = 0, about = 0;
        for (int64_t thread = 0; thread < num_threads; thread++) {
            sum += threads[thread].first[c];
            about += threads[thread].second[c];
        }
        double inverse = (double)inverse_of(it, channels)[c], scale = (double)scale_of(it, channels)[c];
        it->of_shift[c] = (float)sum;
        it->of_gain[c] = (float)(about * inverse);
        to.slope[c] = (float)(-scale * inverse * inverse * about / count);
        to.level[c] = (float)(-scale * sum / count);
    }
}

static void differentiate(float *restrict gradient, const float *restrict x, int64_t count, int64_t kind) {
#define LOOP(KIND) \
    for (int64_t i = 0; i < count; i++) gradient[i] = differentiated(gradient[i], x[i], KIND)
    FOR_ITS_KIND(kind, LOOP)
#undef LOOP
}

/* A norm, and what its gradient is made of. */
typedef struct {
    const norm *norm;
    gradient_of_norm of;
} normed;

/* Adds to a norm's sums; `writes`, known to the compiler, says whether `gradient`, of what the activation
 * after the norm gave, becomes that of what it was given.
 */
INLINE void differentiate_normed(const int writes, float *gradient, const float *x, int64_t pixels,
                                 int64_t channels, const norm *norm, int64_t kind, sums *own) {
    const float *mean = mean_of(norm), *scale = scale_of(norm, channels), *offset = offset_of(norm, channels);
    float *restrict sum = own->first_part, *restrict about = own->second_part;
#define LOOP(KIND)                                                                        \
    for (int64_t i = 0; i < pixels; i++, gradient += channels, x += channels)             \
        _Pragma("GCC ivdep") for (int64_t c = 0; c < channels; c++) {                     \
            float slope = differentiated(gradient[c], x[c] * scale[c] + offset[c], KIND); \
            if (writes) gradient[c] = slope;                                              \
            sum[c] += slope;                                                              \
            about[c] += slope * (x[c] - mean[c]);                                         \
        }
    FOR_ITS_KIND(kind, LOOP)
#undef LOOP
    own->count += pixels;
}

/* Only the sums. */
static void sum_differentiated(const float *from, const float *x, int64_t pixels, int64_t channels,
                               const norm *norm, int64_t kind, sums *own) {
    int64_t few = few_pixels(channels);
    for (; pixels > 0; pixels -= few, from += few * channels, x += few * channels) {
        differentiate_normed(0, (float *)from, x, least(few, pixels), channels, norm, kind, own);
        flush(own, channels);
    }
}

/* The last step to the gradient of what a norm was given. */
static void finish_gradient(float *restrict to, const float *restrict x, int64_t pixels, int64_t channels,
                            const normed *it) {
    const float *restrict mean = mean_of(it->norm), *restrict scale = scale_of(it->norm, channels);
    const float *restrict slope = it->of.slope, *restrict level = it->of.level;
    for (int64_t i = 0; i < pixels; i++, to += channels, x += channels)
        for (int64_t c = 0; c < channels; c++)
            to[c] = to[c] * scale[c] + ((x[c] - mean[c]) * slope[c] + level[c]);
}

static void spread_differentiated(float *restrict to, const float *restrict from,
                                  const float *restrict x, int64_t pixels, int64_t channels,
                                  int64_t apart, const normed *it, int64_t kind) {
#define LOOP(KIND) SPREAD(differentiated(from[c], x[c], KIND))
#define NORMED(KIND)                                                               \
    SPREAD(differentiated(from[c], x[c] * scale[c] + offset[c], KIND) * scale[c] + \
           ((x[c] - mean[c]) * slope[c] + level[c]))
    if (it->norm) {
        const float *restrict mean = mean_of(it->norm), *restrict scale = scale_of(it->norm, channels);
        const float *restrict offset = offset_of(it->norm, channels);
        const float *restrict slope = it->of.slope, *restrict level = it->of.level;
        FOR_ITS_KIND(kind, NORMED)
    } else {
        FOR_ITS_KIND(kind, LOOP)
    }
#undef LOOP
#undef NORMED
}

typedef struct {
    const float *gradient, *z, *x, *weight;
    normed before, after;
    float *of_x;
    int64_t x_size, z_size;
    int64_t strip, output_rows; /* rows of the input at a time, and those of the output that see them */
    int64_t input_columns, output_columns; /* of the buffers */
} backward_pass;

/* What a thread has for itself: two buffers, and sums. */
typedef struct {
    float *inputs, *outputs, *of_weight, *of_bias, *image_bias;
    sums *seen; /* of the norm before */
} workspace;

/* Columns of zeros before and after a row in the buffer of the output. */
INLINE int64_t border(const layer *it) { return it->kernel_width - 1; }

/* Rows h0 to h1 of an image's input, and rows p0 to p1 of its output, which see them. */
typedef struct {
    int64_t image, h0, h1, p0, p1;
} strip;

/* Gradients of some inputs of a block of channels, `pixel` floats apart. Each is a sum over outputs;
 * `num` and `width` are known to the compiler.
 */
INLINE void input_tile(const int num, const int64_t width, const float *output, int64_t output_row,
                       const float *weight, int64_t weight_row, int64_t weight_step,
                       int64_t kernel_rows, float *to, int64_t pixel, int64_t count) {
    lanes sum[4];
    for (int i = 0; i < num; i++) sum[i] = (lanes){0};
    for (int64_t row = 0; row < kernel_rows; row++, output -= output_row, weight += weight_row)
        for (int64_t column = 0; column < width; column++) {
            lanes tap = load(weight + column * weight_step);
            for (int i = 0; i < num; i++) sum[i] += load(output + (i - column) * LANES) * tap;
        }
    for (int i = 0; i < num; i++) store(to + i * pixel, sum[i], count);
}

INLINE void input_row(const int64_t width, int64_t inputs, const float *output, int64_t output_row,
                      const float *weight, int64_t weight_row, int64_t weight_step,
                      int64_t kernel_rows, float *to, int64_t pixel, int64_t count) {
#define TILE(NUM)                                                                              \
    input_tile(NUM, width, output + i * LANES, output_row, weight, weight_row, weight_step,    \
               kernel_rows, to + i * pixel, pixel, count)
    int64_t i = 0;
    for (; i + 4 <= inputs; i += 4) TILE(4);
    for (; i + 2 <= inputs; i += 2) TILE(2);
    for (; i < inputs; i++) TILE(1);
#undef TILE
}

/* The gradient of row h of the input. */
static void input_gradient(const layer *it, const backward_pass *pass, const workspace *own,
                           const strip *here, int64_t h) {
    int64_t x_row = it->width * it->channels, z_row = it->out_width * it->channels;
    int64_t output_row = pass->output_columns * LANES, apart = pass->output_rows * output_row;
    /* Row k of the filter saw row h for row (h + top - k) / stride of the output, where that is whole
     * and one of its rows: for k, k + stride, ... and p, p - 1, ... */
    int64_t k = (h + it->top) % it->stride_height, p = (h + it->top) / it->stride_height;
    for (; p >= it->out_height; p--) k += it->stride_height;
    int64_t kernel_rows = 0;
    if (k < it->kernel_height)
        kernel_rows = least(ceiling(it->kernel_height - k, it->stride_height), p + 1);
    int64_t at = (here->image * it->height + h) * x_row;
    int64_t z_ahead = (here->image * it->out_height + (h + pass->strip) / it->stride_height) * z_row;
    for (int64_t block = 0; block < num_blocks(it); block++) {
        int64_t first = block * LANES, count = least(LANES, it->channels - first);
        int64_t part = it->width * first, z_part = it->out_width * first;
        fetch_to_read(pass->x, pass->x_size, at + pass->strip * x_row + part, it->width * LANES);
        fetch_to_write(pass->of_x, pass->x_size, at + x_row + part, it->width * LANES);
        if (h % it->stride_height == 0) {
            fetch_to_read(pass->gradient, pass->z_size, z_ahead + z_part, it->out_width * LANES);
            if (it->after != NONE || pass->after.norm)
                fetch_to_read(pass->z, pass->z_size, z_ahead + z_part, it->out_width * LANES);
        }
        const float *outputs = own->outputs + block * apart + (p - here->p0) * output_row;
        const float *taps = pass->weight + (block * it->kernel_height + k) * it->kernel_width * LANES;
        /* Columns w, w + stride, ... are seen by the same columns of the filter, l, l + stride, ... */
        for (int64_t w = 0; w < least(it->stride_width, it->width); w++) {
            int64_t l = (w + it->left) % it->stride_width, q = (w + it->left) / it->stride_width;
            int64_t width = l < it->kernel_width ? ceiling(it->kernel_width - l, it->stride_width) : 0;
#define ROW(WIDTH)                                                                                \
    input_row(WIDTH, ceiling(it->width - w, it->stride_width),                                    \
              outputs + (border(it) + q) * LANES, output_row, taps + l * LANES,              \
              it->stride_height * it->kernel_width * LANES, it->stride_width * LANES, kernel_rows, \
              pass->of_x + at + w * it->channels + first, it->stride_width * it->channels, count)
            switch (width) {
                WITH_WIDTH(1, ROW)
                WITH_WIDTH(2, ROW)
                WITH_WIDTH(3, ROW)
                WITH_WIDTH(4, ROW)
                WITH_WIDTH(5, ROW)
                WITH_WIDTH(7, ROW)
            default:
                ROW(width);
            }
#undef ROW
        }
    }
    if (!pass->before.norm) {
        differentiate(pass->of_x + at, pass->x + at, x_row, it->before);
        return;
    }
    if (own->seen->count + it->width > few_pixels(it->channels)) flush(own->seen, it->channels);
    differentiate_normed(1, pass->of_x + at, pass->x + at, it->width, it->channels, pass->before.norm,
                         it->before, own->seen);
}

#define WIDEST 7 /* columns of a filter whose sums are kept in registers */

/* Adds a row's part to the gradient of a row of a filter, which has at most WIDEST columns here. */
INLINE void weight_row(const int64_t width, int64_t outputs, int64_t step, const float *output,
                       const float *input, lanes *sum) {
    lanes even[WIDEST], odd[WIDEST]; /* two of each: an addition waits four cycles for the one before */
    for (int64_t column = 0; column < width; column++) even[column] = odd[column] = (lanes){0};
    int64_t q = 0;
    for (; q + 2 <= outputs; q += 2, input += 2 * step) {
        lanes one = load(output + q * LANES), other = load(output + (q + 1) * LANES);
        for (int64_t column = 0; column < width; column++) {
            even[column] += one * load(input + column * LANES);
            odd[column] += other * load(input + step + column * LANES);
        }
    }
    if (q < outputs) {
        lanes one = load(output + q * LANES);
        for (int64_t column = 0; column < width; column++)
            even[column] += one * load(input + column * LANES);
    }
    for (int64_t column = 0; column < width; column++) sum[column] += even[column] + odd[column];
}

/* Adds a strip's part to the gradient of the weight. */
static void weight_gradient(const layer *it, const backward_pass *pass, const workspace *own,
                            const strip *here) {
    int64_t input_row = pass->input_columns * LANES, output_row = pass->output_columns * LANES;
    for (int64_t block = 0; block < num_blocks(it); block++)
        for (int64_t k = 0; k < it->kernel_height; k++)
            for (int64_t l = 0; l < it->kernel_width; l += WIDEST) {
                int64_t width = least(WIDEST, it->kernel_width - l);
                lanes sum[WIDEST] = {{0}};
                for (int64_t p = here->p0; p < here->p1; p++) {
                    int64_t h = p * it->stride_height - it->top + k;
                    if (h < here->h0 || h >= here->h1) continue;
                    const float *output = own->outputs + border(it) * LANES +
                                          (block * pass->output_rows + p - here->p0) * output_row;
                    const float *input =
                        own->inputs + (block * pass->strip + h - here->h0) * input_row + l * LANES;
#define ROW(WIDTH) weight_row(WIDTH, it->out_width, it->stride_width * LANES, output, input, sum)
                    switch (width) {
                        WITH_WIDTH(3, ROW)
                        WITH_WIDTH(5, ROW)
                        WITH_WIDTH(7, ROW)
                    default:
                        ROW(width);
                    }
#undef ROW
                }
                float *total =
                    own->of_weight + ((block * it->kernel_height + k) * it->kernel_width + l) * LANES;
                for (int64_t i = 0; i < width; i++)
                    store(total + i * LANES, load(total + i * LANES) + sum[i], LANES);
            }
}

static void backward_images(const layer *it, const backward_pass *pass, const workspace *own,
                            int64_t begin, int64_t end) {
    int64_t blocks = num_blocks(it), x_row = it->width * it->channels, z_row = it->out_width * it->channels;
    int64_t input_row = pass->input_columns * LANES, output_row = pass->output_columns * LANES;
    for (int64_t image = begin; image < end; image++) {
        int64_t counted = 0; /* rows of the output that are in the sums of the bias */
        clear(own->image_bias, blocks * LANES);
        for (int64_t h0 = 0; h0 < it->height; h0 += pass->strip) {
            strip here = {.image = image, .h0 = h0, .h1 = least(it->height, h0 + pass->strip)};
            here.p0 = ceiling(most(0, h0 + it->top - it->kernel_height + 1), it->stride_height);
            here.p1 = least(it->out_height, (here.h1 - 1 + it->top) / it->stride_height + 1);
            for (int64_t p = here.p0; p < here.p1; p++) {
                int64_t at = (image * it->out_height + p) * z_row;
                float *to = own->outputs + (p - here.p0) * output_row + border(it) * LANES;
                spread_differentiated(to, pass->gradient + at, pass->z + at, it->out_width, it->channels,
                                      pass->output_rows * output_row, &pass->after, it->after);
                if (p < counted) continue;
                counted = p + 1;
                for (int64_t block = 0; block < blocks; block++, to += pass->output_rows * output_row) {
                    float *total = own->image_bias + block * LANES;
                    lanes sum = {0};
                    for (int64_t q = 0; q < it->out_width; q++) sum += load(to + q * LANES);
                    store(total, load(total) + sum, LANES);
                }
            }
            for (int64_t h = h0; h < here.h1; h++)
                spread_activated(own->inputs + (h - h0) * input_row + it->left * LANES,
                                 pass->x + (image * it->height + h) * x_row, it->width, it->channels,
                                 pass->strip * input_row, pass->before.norm, it->before);
            if (pass->of_x)
                for (int64_t h = h0; h < here.h1; h++) input_gradient(it, pass, own, &here, h);
            weight_gradient(it, pass, own, &here);
        }
        for (int64_t i = 0; i < blocks * LANES; i++) own->of_bias[i] += own->image_bias[i];
    }
}

/* Writes the gradients of x, of the weight, of the bias and of the norms' gains and shifts; those of the
 * first three that are NULL are left out, but with a norm before, that of x is needed.
 *
 * gradient  of z
 * z         `convolved`, or z if there was none
 *
 * Shapes are those of the forward pass. Every padding must be shorter than the filter is long.
 * Returns 0, or 1 when there is no memory.
 */
int zoo_depthwise_backward(const layer *it, const norm *before, const norm *after, const float *gradient,
                           const float *z, const float *x, const float *weight, float *of_x,
                           float *of_weight, float *of_bias) {
    int64_t blocks = num_blocks(it), taps = it->kernel_height * it->kernel_width, channels = it->channels;
    int64_t input_columns = num_input_columns(it), output_columns = it->out_width + 2 * border(it);
    int64_t row = input_columns + output_columns / it->stride_height;
    int64_t rows = most(1, STRIP_BYTES / (row * channels * (int64_t)sizeof(float)));
    int64_t x_size = it->height * it->width * channels, z_size = it->out_height * it->out_width * channels;
    float *blocked = blocked_weight(it, weight);
    backward_pass pass = {
        .gradient = gradient, .z = z, .x = x, .weight = blocked, .of_x = of_x,
        .before = {.norm = before}, .after = {.norm = after},
        .x_size = it->images * x_size, .z_size = it->images * z_size,
        .strip = least(it->height, rows),
        .input_columns = input_columns, .output_columns = output_columns,
    };
    pass.output_rows = least(it->out_height, (pass.strip + it->kernel_height - 2) / it->stride_height + 1);
    int64_t inputs = whole_lines(blocks * pass.strip * input_columns * LANES);
    int64_t outputs = whole_lines(blocks * pass.output_rows * output_columns * LANES);
    int64_t weights = whole_lines(blocks * taps * LANES), biases = whole_lines(blocks * LANES);
    int64_t size = inputs + outputs + weights + 2 * biases + size_of_sums(channels);
    float *memory = room(it->threads * size), *of_norms = room(4 * whole_lines(channels));
    sums *seen = malloc((size_t)it->threads * sizeof *seen);
    int failed = !blocked || !memory || !of_norms || !seen;
    if (!failed) {
        int64_t each = whole_lines(channels);
        pass.before.of = (gradient_of_norm){.slope = of_norms, .level = of_norms + each};
        pass.after.of = (gradient_of_norm){.slope = of_norms + 2 * each, .level = of_norms + 3 * each};
        if (after) {
            EACH_THREAD(it) {
                int64_t begin = first_image(it, thread), end = first_image(it, thread + 1);
                seen[thread] = cleared_sums(memory + thread * size, channels);
                sum_differentiated(gradient + begin * z_size, z + begin * z_size,
                                   (end - begin) * it->out_height * it->out_width, channels, after,
                                   it->after, seen + thread);
            }
            settle_gradient(after, seen, it->threads, (double)(it->images * it->out_height * it->out_width),
                            channels, pass.after.of);
        }
        EACH_THREAD(it) {
            float *mine = memory + thread * size;
            clear(mine, size);
            workspace own = {
                .of_weight = mine, .of_bias = mine + weights, .image_bias = mine + weights + biases,
                .inputs = mine + weights + 2 * biases, .outputs = mine + weights + 2 * biases + inputs,
                .seen = seen + thread,
            };
            seen[thread] = cleared_sums(own.outputs + outputs, channels);
            backward_images(it, &pass, &own, first_image(it, thread), first_image(it, thread + 1));
            if (before) flush(own.seen, channels);
        }
        if (before) {
            settle_gradient(before, seen, it->threads, (double)(it->images * it->height * it->width),
                            channels, pass.before.of);
            EACH_THREAD(it) {
                int64_t begin = first_image(it, thread), end = first_image(it, thread + 1);
                finish_gradient(of_x + begin * x_size, x + begin * x_size,
                                (end - begin) * it->height * it->width, channels, &pass.before);
            }
        }
        for (int64_t c = 0; c < channels; c++) {
            for (int64_t tap = 0; of_weight && tap < taps; tap++) {
                float sum = 0;
                for (int64_t thread = 0; thread < it->threads; thread++)
                    sum += memory[thread * size + (c / LANES * taps + tap) * LANES + c % LANES];
                of_weight[c * taps + tap] = sum;
            }
            float sum = 0;
            for (int64_t thread = 0; of_bias && thread < it->threads; thread++)
                sum += memory[thread * size + weights + c];
            if (of_bias) of_bias[c] = sum;
        }
    }
    free(blocked);
    free(memory);
    free(of_norms);
    free(seen);
    return failed;
}
