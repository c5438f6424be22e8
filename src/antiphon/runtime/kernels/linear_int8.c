/* A linear layer with int8 weights: out = activation(x W^T + bias) + residual, x quantized a row at a time as it comes.
 *
 * A weight is a whole number of [-127, 127] times its output channel's scale, max |w| / 127; an activation one of
 * [-A, A] times its row's scale, max |x| / A. Sums are 32-bit and exact, so that a row has the same bits in whatever
 * batch, position and number of threads. A row (or a channel) with NaN or infinity is NaN throughout.
 *
 * W is packed in panels of WIDTH columns: for each group of GROUP k, the weights of the first column, of the second, ...
 * Behind the panels stands for each column the sum of its weights. */
#include <math.h>

#include "linear.h"
#if defined(ANTIPHON_EMULATE_VNNI) || (defined(__AVX512VNNI__) && defined(__AVX512F__)) || defined(__AVXVNNI__)
#include "int8_dots.h"
#else
#include "int8_words.h"
#endif

enum { LINE = 64 };                   /* bytes of a line of the cache */
static const float SMALLEST = 1e-30f; /* a row or channel below is 0: its scale would leave the range of float32 */

INLINE int64_t panel_bytes(int64_t inner) { return up(inner, GROUP) * GROUP * WIDTH; }
INLINE int64_t all_panels(int64_t outer, int64_t inner) { return up(outer, WIDTH) * panel_bytes(inner); }

EXPORT int64_t packed_int8_bytes(int64_t outer, int64_t inner) {
    return all_panels(outer, inner) + up(outer, WIDTH) * WIDTH * (int64_t)sizeof(int32_t);
}

/* max |x|; NaN if there is NaN or infinity. (As bits, floats without their sign are in order and NaN comes last.) */
static float largest(const float *x, int64_t count) {
    uint32_t most = 0;
    for (int64_t k = 0; k < count; k++) {
        uint32_t bits;
        memcpy(&bits, x + k, sizeof bits);
        bits &= 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    float size;
    memcpy(&size, &most, sizeof size);
    return most < 0x7f800000u ? size : NAN;
}

/* w (outer, inner), as nn.Linear keeps it, into panels (packed_int8_bytes) and scales (outer). */
EXPORT void pack_int8(const float *w, int64_t outer, int64_t inner, int8_t *packed, float *scales) {
    int32_t *totals = (int32_t *)(packed + all_panels(outer, inner));
    memset(packed, 0, (size_t)packed_int8_bytes(outer, inner));
    for (int64_t column = 0; column < outer; column++) {
        const float *from = w + column * inner;
        float most = largest(from, inner), factor = most >= SMALLEST ? 127.0f / most : 0.0f;
        int8_t *to = packed + column / WIDTH * panel_bytes(inner) + column % WIDTH * GROUP;
        scales[column] = most < SMALLEST ? 0.0f : most / 127.0f;
        for (int64_t k = 0; k < inner && factor > 0.0f; k++) {
            int8_t whole = (int8_t)lrintf(from[k] * factor);
            to[k / GROUP * WIDTH * GROUP + k % GROUP] = whole;
            totals[column] += whole;
        }
    }
}

/* A workspace is the scale of each row, then the rows' levels. A line between rows keeps them off the same sets of the
 * cache. */
INLINE int64_t row_levels(int64_t inner) {
    return up(inner * (int64_t)sizeof(Level), LINE) * LINE / (int64_t)sizeof(Level) + LINE / (int64_t)sizeof(Level);
}
INLINE int64_t scale_bytes(int64_t rows) { return up(rows * (int64_t)sizeof(float), LINE) * LINE; }

EXPORT int64_t workspace_bytes(int64_t rows, int64_t inner) {
    return scale_bytes(rows) + rows * row_levels(inner) * (int64_t)sizeof(Level);
}

INLINE Level *levels_of(const Linear *linear, int64_t row) {
    return (Level *)((char *)linear->workspace + scale_bytes(linear->rows)) + row * row_levels(linear->inner);
}

static void quantize_rows(const Linear *linear, int64_t row, int64_t count) {
    int64_t top = levels(linear->inner);
    for (int64_t end = row + count; row < end; row++) {
        const float *x = linear->x + row * linear->x_stride;
        float most = largest(x, linear->inner);
        ((float *)linear->workspace)[row] = most < SMALLEST ? 0.0f : most / (float)top;
        if (most >= SMALLEST)
            quantize_row(x, linear->inner, (float)top / most, levels_of(linear, row));
        else /* 0 or NaN: the scale says it */
            for (int64_t k = 0; k < linear->inner; k++) levels_of(linear, row)[k] = MIDDLE;
    }
}

enum { TOGETHER = 16 }; /* rows that one part quantizes */

static void quantize_part(int64_t part, void *context) {
    const Linear *linear = context;
    quantize_rows(linear, part * TOGETHER, smaller(TOGETHER, linear->rows - part * TOGETHER));
}

static void any_tile(const Level *x, int64_t stride, const int8_t *panel, int64_t groups, int64_t rows,
                     int64_t ahead, int32_t (*sums)[WIDTH]) {
    switch (rows) {
        case 1: tile(x, stride, panel, groups, 1, ahead, sums); break;
        case 2: tile(x, stride, panel, groups, 2, ahead, sums); break;
        case 3: tile(x, stride, panel, groups, 3, ahead, sums); break;
        case 4: tile(x, stride, panel, groups, 4, ahead, sums); break;
        case 5: tile(x, stride, panel, groups, 5, ahead, sums); break;
        default: tile(x, stride, panel, groups, 6, ahead, sums); break;
    }
}

/* Eight columns from `column` on of a block's rows: scales, bias, activation, residual. */
INLINE void finish_columns(const Linear *linear, int64_t row, int64_t rows, int64_t column, const int32_t *sums,
                           const int64_t activation) {
    const int32_t *totals = (const int32_t *)((const char *)linear->packed + all_panels(linear->outer, linear->inner));
    const float *scales = (const float *)linear->workspace + row;
    Floats scale = columns8(linear, linear->scales, column), bias = columns8(linear, linear->bias, column);
    Bits moved;
    memcpy(&moved, totals + column, sizeof moved);
    moved *= MIDDLE;
    for (int64_t r = 0; r < rows; r++) {
        Bits sum;
        memcpy(&sum, sums + r * WIDTH, sizeof sum);
        Floats product = __builtin_convertvector((Words)(sum - moved), Floats) * scales[r] * scale + bias;
        finish8(linear, row + r, column, activated(product, activation));
    }
}

/* The sums of a block's rows in a panel. Which activation it is, is asked once: with few inputs this is half the work. */
static __attribute__((noinline)) void finish(const Linear *linear, int64_t row, int64_t rows, int64_t panel,
                                             int32_t (*sums)[WIDTH]) {
    for (int64_t c = 0; c < WIDTH; c += LANES) {
        int64_t column = panel * WIDTH + c;
        switch (linear->activation) {
            case PLAIN: finish_columns(linear, row, rows, column, sums[0] + c, PLAIN); break;
            case RELU: finish_columns(linear, row, rows, column, sums[0] + c, RELU); break;
            default: finish_columns(linear, row, rows, column, sums[0] + c, linear->activation);
        }
    }
}

/* Rows whose levels take half of a small second cache pass each panel while it is in the first. */
static void run_int8(const Linear *linear, int64_t row, int64_t rows, int64_t panel, int64_t panels) {
    int64_t stride = row_levels(linear->inner), groups = up(linear->inner, GROUP), bytes = panel_bytes(linear->inner);
    int64_t held = 196608 / (stride * (int64_t)sizeof(Level)), chunks = up(rows, held < 4 * BLOCK ? 4 * BLOCK : held);
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        int64_t from = rows * chunk / chunks, count = rows * (chunk + 1) / chunks - from, blocks = up(count, BLOCK);
        for (int64_t i = panel; i < panel + panels; i++)
            for (int64_t block = 0; block < blocks; block++) {
                int64_t first = row + from + count * block / blocks;
                int64_t taken = row + from + count * (block + 1) / blocks - first;
                int32_t sums[BLOCK][WIDTH];
                /* The next panel comes from far away, while the first rows of this one are computed. */
                any_tile(levels_of(linear, first), stride, (const int8_t *)linear->packed + i * bytes, groups, taken,
                         block ? 0 : bytes, sums);
                finish(linear, first, taken, i, sums);
            }
    }
}

Linear int8_product(const Step *s) {
    Linear linear = named(s);
    linear.width = WIDTH;
    linear.run = run_int8;
    return linear;
}

/* The rows of x into the workspace. */
void quantize_all(const Step *s) {
    Linear linear = named(s);
    if (linear.rows * linear.inner < 1 << 16)
        quantize_rows(&linear, 0, linear.rows);
    else
        in_parallel(quantize_part, up(linear.rows, TOGETHER), &linear);
}

/* p: 0 x, 1 workspace (workspace_bytes), 2 packed, 3 scales, 4 bias or NULL, 5 residual or NULL (laid out as out, which
 *    it may be), 6 out.
 * n: 0 rows, 1 inner, 2 outer, 3 row stride of x, 4 of out and residual, 5 activation, 6 the workspace already holds
 *    this x. */
EXPORT void linear_int8(const Step *s) {
    Linear linear = int8_product(s);
    if (!s->n[6]) quantize_all(s);
    spread(&linear);
}
