/* A linear layer in float32: out = activation(x W^T + bias) + residual.
 *
 * W is packed in panels of 16 columns, for each the 16 weights of k = 0, then of k = 1, ... Every output is one sum
 * over ascending k, so that the bits of a row do not depend on batch, position and number of threads. */
#include "linear.h"

/* DEPTH_K of a panel are 16 KiB, which stay in the L1 cache for all blocks of rows. */
enum { PANEL_COLUMNS = 16, DEPTH_K = 256 };

EXPORT int64_t packed_float_bytes(int64_t outer, int64_t inner) {
    return ceil_div(outer, PANEL_COLUMNS) * PANEL_COLUMNS * inner * (int64_t)sizeof(float);
}

/* Packs w (outer, inner), the layout of nn.Linear, into panels; missing columns of the last panel are zero. */
EXPORT void pack_float(const float *w, int64_t outer, int64_t inner, float *packed) {
    for (int64_t panel = 0; panel < ceil_div(outer, PANEL_COLUMNS); panel++)
        for (int64_t k = 0; k < inner; k++)
            for (int64_t c = 0; c < PANEL_COLUMNS; c++) {
                int64_t column = panel * PANEL_COLUMNS + c;
                *packed++ = column < outer ? w[column * inner + k] : 0.0f;
            }
}

/* sums (rows, panels, 16) += x (rows, depth) times `panels` panels that lie `apart` floats from each other. */
INLINE void tile(const float *x, int64_t stride, const float *packed, int64_t apart, int64_t depth, const int rows,
                 const int panels, float *sums) {
    Floats sum[BLOCK_ROWS * 4][2];
    for (int i = 0; i < rows * panels; i++)
        for (int half = 0; half < 2; half++) sum[i][half] = load8(sums + i * PANEL_COLUMNS + half * LANES);
    for (int64_t k = 0; k < depth; k++)
        for (int panel = 0; panel < panels; panel++) {
            const float *weights = packed + panel * apart + k * PANEL_COLUMNS;
            Floats low = load8(weights), high = load8(weights + LANES);
            for (int row = 0; row < rows; row++) {
                Floats value = all8(x[row * stride + k]);
                sum[row * panels + panel][0] += value * low;
                sum[row * panels + panel][1] += value * high;
            }
        }
    for (int i = 0; i < rows * panels; i++)
        for (int half = 0; half < 2; half++) store8(sums + i * PANEL_COLUMNS + half * LANES, sum[i][half]);
}

static void any_tile(const float *x, int64_t stride, const float *packed, int64_t apart, int64_t depth, int64_t rows,
                     int64_t panels, float *sums) {
    switch (rows * 8 + panels) {
        case 1 * 8 + 4: tile(x, stride, packed, apart, depth, 1, 4, sums); break;
        case 1 * 8 + 1: tile(x, stride, packed, apart, depth, 1, 1, sums); break;
        case 2 * 8 + 2: tile(x, stride, packed, apart, depth, 2, 2, sums); break;
        case 2 * 8 + 1: tile(x, stride, packed, apart, depth, 2, 1, sums); break;
        case 3 * 8 + 2: tile(x, stride, packed, apart, depth, 3, 2, sums); break;
        case 3 * 8 + 1: tile(x, stride, packed, apart, depth, 3, 1, sums); break;
        case 4 * 8 + 1: tile(x, stride, packed, apart, depth, 4, 1, sums); break;
        case 5 * 8 + 1: tile(x, stride, packed, apart, depth, 5, 1, sums); break;
        default: tile(x, stride, packed, apart, depth, 6, 1, sums); break;
    }
}

/* Bias, activation and residual of the sums (rows, panels, 16) of `panels` panels from `panel` on. Not inlined, to keep
 * the code small. */
static __attribute__((noinline)) void finish(const Linear *linear, int64_t row, int64_t rows, int64_t panel,
                                             int64_t panels, const float *sums) {
    for (int64_t column = panel * PANEL_COLUMNS; column < (panel + panels) * PANEL_COLUMNS; column += LANES) {
        Floats bias = columns8(linear, linear->bias, column);
        const float *at = sums + column - panel * PANEL_COLUMNS;
        for (int64_t r = 0; r < rows; r++)
            finish8(linear, row + r, column,
                    activated(load8(at + r * panels * PANEL_COLUMNS) + bias, linear->activation));
    }
}

enum { CHUNK_ROWS = 48 }; /* whose sums are stored while a panel is read in parts of DEPTH_K */

static void run_rows(const Linear *linear, int64_t row, int64_t rows, int64_t panel, int64_t panels) {
    int64_t blocks = ceil_div(rows, BLOCK_ROWS), apart = linear->inner * PANEL_COLUMNS;
    for (int64_t end = panel + panels; panel < end;) {
        int64_t together = rows == 1 && end - panel >= 4 ? 4 : (rows == 2 || rows == 3) && end - panel >= 2 ? 2 : 1;
        const float *packed = (const float *)linear->packed + panel * apart;
        float sums[CHUNK_ROWS * PANEL_COLUMNS];
        memset(sums, 0, sizeof(float) * (size_t)(rows * together * PANEL_COLUMNS));
        for (int64_t k = 0; k < linear->inner; k += DEPTH_K)
            for (int64_t block = 0; block < blocks; block++) {
                int64_t first = rows * block / blocks, count = rows * (block + 1) / blocks - first;
                any_tile(linear->x + (row + first) * linear->x_stride + k, linear->x_stride,
                         packed + k * PANEL_COLUMNS, apart, smaller(DEPTH_K, linear->inner - k), count, together,
                         sums + first * PANEL_COLUMNS);
            }
        finish(linear, row, rows, panel, together, sums);
        panel += together;
    }
}

static void run_float(const Linear *linear, int64_t row, int64_t rows, int64_t panel, int64_t panels) {
    int64_t chunks = ceil_div(rows, CHUNK_ROWS);
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        int64_t first = rows * chunk / chunks, end = rows * (chunk + 1) / chunks;
        run_rows(linear, row + first, end - first, panel, panels);
    }
}

Linear float_product(Linear arguments) {
    arguments.width = PANEL_COLUMNS;
    arguments.run = run_float;
    return arguments;
}

/* out = activation(x W^T + bias) + residual. Bias and residual may be NULL; the residual may be out. */
EXPORT void linear_float(const Step *s) {
    Linear linear = float_product(linear_arguments(s));
    run_product(&linear);
}
