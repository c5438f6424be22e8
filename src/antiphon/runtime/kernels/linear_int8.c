/* A linear layer with int8 weights: out = activation(x W^T + bias) + residual, where each row of x is quantized.
 *
 * A weight is a whole number of [-127, 127] times its output channel's scale, max |w| / 127; an activation one of
 * [-A, A] times its row's scale, max |x| / A. Sums are 32-bit and exact, so that a row has the same bits in whatever
 * batch, position and number of threads. A row (or a channel) with NaN or infinity is NaN throughout.
 *
 * W is packed in panels of PANEL_COLUMNS columns: for each group of GROUP_K k, the weights of the first column, of the
 * second, ... The sum of the weights of each column is stored behind the panels. */
#include <math.h>

#include "linear.h"
#if defined(ANTIPHON_EMULATE_VNNI) || (defined(__AVX512VNNI__) && defined(__AVX512F__)) || defined(__AVXVNNI__)
#include "int8_vnni.h"
#else
#include "int8_madd.h"
#endif

static const float MIN_MAGNITUDE = 1e-30f; /* a row or channel below is 0: its scale would leave the range of float32 */

INLINE int64_t panel_bytes(int64_t inner) { return ceil_div(inner, GROUP_K) * GROUP_K * PANEL_COLUMNS; }
INLINE int64_t all_panels(int64_t outer, int64_t inner) { return ceil_div(outer, PANEL_COLUMNS) * panel_bytes(inner); }

EXPORT int64_t packed_int8_bytes(int64_t outer, int64_t inner) {
    return all_panels(outer, inner) + ceil_div(outer, PANEL_COLUMNS) * PANEL_COLUMNS * (int64_t)sizeof(int32_t);
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

/* Packs w (outer, inner), the layout of nn.Linear, into panels (packed_int8_bytes) and scales (outer). */
EXPORT void pack_int8(const float *w, int64_t outer, int64_t inner, int8_t *packed, float *scales) {
    int32_t *totals = (int32_t *)(packed + all_panels(outer, inner));
    memset(packed, 0, (size_t)packed_int8_bytes(outer, inner));
    for (int64_t column = 0; column < outer; column++) {
        const float *from = w + column * inner;
        float most = largest(from, inner), factor = most >= MIN_MAGNITUDE ? 127.0f / most : 0.0f;
        int8_t *to = packed + column / PANEL_COLUMNS * panel_bytes(inner) + column % PANEL_COLUMNS * GROUP_K;
        scales[column] = most < MIN_MAGNITUDE ? 0.0f : most / 127.0f;
        for (int64_t k = 0; k < inner && factor > 0.0f; k++) {
            int8_t whole = (int8_t)lrintf(from[k] * factor);
            to[k / GROUP_K * PANEL_COLUMNS * GROUP_K + k % GROUP_K] = whole;
            totals[column] += whole;
        }
    }
}

/* A workspace contains the scale of each row, then the rows' levels. One cache line between rows keeps them out of the
 * same cache sets. */
INLINE int64_t full_lines(int64_t bytes) { return ceil_div(bytes, CACHE_LINE_BYTES) * CACHE_LINE_BYTES; }
INLINE int64_t row_levels(int64_t inner) {
    return (full_lines(inner * (int64_t)sizeof(Level)) + CACHE_LINE_BYTES) / (int64_t)sizeof(Level);
}
INLINE int64_t scale_bytes(int64_t rows) { return full_lines(rows * (int64_t)sizeof(float)); }

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
        ((float *)linear->workspace)[row] = most < MIN_MAGNITUDE ? 0.0f : most / (float)top;
        if (most >= MIN_MAGNITUDE)
            quantize_row(x, linear->inner, (float)top / most, levels_of(linear, row));
        else /* 0 or NaN, as is the scale */
            for (int64_t k = 0; k < linear->inner; k++) levels_of(linear, row)[k] = ZERO_LEVEL;
    }
}

enum { PART_ROWS = 16 }; /* that one part of the work quantizes */

static void quantize_part(int64_t part, void *context) {
    const Linear *linear = context;
    quantize_rows(linear, part * PART_ROWS, smaller(PART_ROWS, linear->rows - part * PART_ROWS));
}

static void any_tile(const Level *x, int64_t stride, const int8_t *panel, int64_t groups, int64_t rows,
                     int64_t ahead, int32_t (*sums)[PANEL_COLUMNS]) {
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
    moved *= ZERO_LEVEL;
    for (int64_t r = 0; r < rows; r++) {
        Bits sum;
        memcpy(&sum, sums + r * PANEL_COLUMNS, sizeof sum);
        Floats product = __builtin_convertvector((Words)(sum - moved), Floats) * scales[r] * scale + bias;
        finish8(linear, row + r, column, activated(product, activation));
    }
}

/* The end of a block's rows in a panel. The activation is selected outside the loop: with few inputs this is half of
 * the work. */
static __attribute__((noinline)) void finish(const Linear *linear, int64_t row, int64_t rows, int64_t panel,
                                             int32_t (*sums)[PANEL_COLUMNS]) {
    for (int64_t c = 0; c < PANEL_COLUMNS; c += LANES) {
        int64_t column = panel * PANEL_COLUMNS + c;
        switch (linear->activation) {
            case ACTIVATION_PLAIN: finish_columns(linear, row, rows, column, sums[0] + c, ACTIVATION_PLAIN); break;
            case ACTIVATION_RELU: finish_columns(linear, row, rows, column, sums[0] + c, ACTIVATION_RELU); break;
            default: finish_columns(linear, row, rows, column, sums[0] + c, linear->activation);
        }
    }
}

enum { CHUNK_BYTES = 196608 }; /* of levels: half of a small L2 cache */

/* Each panel is read once for a chunk of rows, whose levels stay in the L2 cache. */
static void run_int8(const Linear *linear, int64_t row, int64_t rows, int64_t panel, int64_t panels) {
    int64_t stride = row_levels(linear->inner), groups = ceil_div(linear->inner, GROUP_K);
    int64_t bytes = panel_bytes(linear->inner), cached = CHUNK_BYTES / (stride * (int64_t)sizeof(Level));
    int64_t chunks = ceil_div(rows, cached < 4 * BLOCK_ROWS ? 4 * BLOCK_ROWS : cached);
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        int64_t from = rows * chunk / chunks, count = rows * (chunk + 1) / chunks - from;
        int64_t blocks = ceil_div(count, BLOCK_ROWS);
        for (int64_t i = panel; i < panel + panels; i++)
            for (int64_t block = 0; block < blocks; block++) {
                int64_t first = row + from + count * block / blocks;
                int64_t taken = row + from + count * (block + 1) / blocks - first;
                int32_t sums[BLOCK_ROWS][PANEL_COLUMNS];
                /* The next panel is prefetched while the first block of this one is computed. */
                any_tile(levels_of(linear, first), stride, (const int8_t *)linear->packed + i * bytes, groups, taken,
                         block ? 0 : bytes, sums);
                finish(linear, first, taken, i, sums);
            }
    }
}

Linear int8_product(Linear arguments) {
    arguments.width = PANEL_COLUMNS;
    arguments.run = run_int8;
    return arguments;
}

void quantize_all(Linear *linear) {
    if (linear->rows * linear->inner < 1 << 16)
        quantize_rows(linear, 0, linear->rows);
    else
        in_parallel(quantize_part, ceil_div(linear->rows, PART_ROWS), linear);
}

/* out = activation(x W^T + bias) + residual. Bias and residual may be NULL; the residual may be out. The workspace has
 * workspace_bytes; with reuse_workspace it already contains this x. */
EXPORT void linear_int8(const Step *s) {
    Linear linear = int8_product(linear_arguments(s));
    if (!s->n[LINEAR_REUSE_WORKSPACE]) quantize_all(&linear);
    run_product(&linear);
}
