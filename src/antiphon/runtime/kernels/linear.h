/* The common part of the linear kernels: the division of the work into panels of columns and blocks of rows, and the
 * end of a product before it is stored (bias, activation, residual). */
#ifndef ANTIPHON_LINEAR_H
#define ANTIPHON_LINEAR_H

#include "step.h"
#include "vectors.h"

enum { BLOCK_ROWS = 6 }; /* at most, of a tile: 6 x 16 floats are 12 of 16 registers */

INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t ceil_div(int64_t count, int64_t by) { return (count + by - 1) / by; }

/* The arguments of a product. */
typedef struct Linear Linear;
struct Linear {
    const float *x, *scales, *bias, *residual;
    const void *workspace, *packed;
    float *out;
    int64_t rows, inner, outer, x_stride, out_stride, activation;
    int64_t width; /* columns of a panel */
    void (*run)(const Linear *linear, int64_t row, int64_t rows, int64_t panel, int64_t panels);
    int64_t row_parts, panel_parts;
    int64_t first_row, first_column; /* of which `out` is the address */
};

/* The arguments of linear_float and linear_int8. */
INLINE Linear linear_arguments(const Step *s) {
    return (Linear){
        .x = s->p[LINEAR_X],
        .workspace = s->p[LINEAR_WORKSPACE],
        .packed = s->p[LINEAR_PACKED],
        .scales = s->p[LINEAR_SCALES],
        .bias = s->p[LINEAR_BIAS],
        .residual = s->p[LINEAR_RESIDUAL],
        .out = s->p[LINEAR_OUT],
        .rows = s->n[LINEAR_ROWS],
        .inner = s->n[LINEAR_INPUTS],
        .outer = s->n[LINEAR_OUTPUTS],
        .x_stride = s->n[LINEAR_X_STRIDE],
        .out_stride = s->n[LINEAR_OUT_STRIDE],
        .activation = s->n[LINEAR_ACTIVATION],
    };
}

/* The product with these arguments, whose `run` computes any rows and panels. int8: after quantize_all. */
Linear int8_product(Linear arguments);
Linear float_product(Linear arguments);
/* Quantizes the rows of x into the workspace. */
void quantize_all(Linear *linear);

INLINE Floats activated(Floats x, int64_t activation) {
    switch (activation) {
        case ACTIVATION_RELU: return at_least8(all8(0.0f), x);
        case ACTIVATION_GELU: return gelu8(x);
        case ACTIVATION_GELU_TANH: return gelu_tanh8(x);
        case ACTIVATION_SILU: return silu8(x);
        default: return x;
    }
}

/* Adds the residual to eight columns from `column` on and stores them in `out`. */
INLINE void finish8(const Linear *linear, int64_t row, int64_t column, Floats value) {
    int64_t left = linear->outer - column, at;
    at = (row - linear->first_row) * linear->out_stride + column - linear->first_column;
    if (left <= 0) return;
    if (linear->residual)
        value += left >= LANES ? load8(linear->residual + at) : load_some(linear->residual + at, left);
    store_some(linear->out + at, value, left);
}

/* `values`, or zeros for NULL, of eight columns from `column` on. */
INLINE Floats columns8(const Linear *linear, const float *values, int64_t column) {
    int64_t left = linear->outer - column;
    if (!values) return all8(0.0f);
    return left >= LANES ? load8(values + column) : load_some(values + column, left);
}

static void run_part(int64_t part, void *context) {
    const Linear *linear = context;
    int64_t panels = ceil_div(linear->outer, linear->width), parts = linear->panel_parts;
    int64_t across = part % parts, down = part / parts;
    int64_t first = panels * across / parts, end = panels * (across + 1) / parts;
    int64_t row = linear->rows * down / linear->row_parts, last = linear->rows * (down + 1) / linear->row_parts;
    linear->run(linear, row, last - row, first, end - first);
}

/* Runs the product on all threads, if it is large enough: it is divided by panels first, then by rows. */
static inline void run_product(Linear *linear) {
    int64_t panels = ceil_div(linear->outer, linear->width), threads = thread_count();
    if (linear->rows <= 0 || panels <= 0) return;
    double work = (double)linear->rows * (double)linear->inner * (double)linear->outer;
    int64_t wanted = threads <= 1 || work < 1e5 ? 1 : work < 1e6 ? threads : 4 * threads;
    linear->panel_parts = smaller(panels, wanted);
    linear->row_parts = smaller(ceil_div(linear->rows, 8 * BLOCK_ROWS), ceil_div(wanted, linear->panel_parts));
    in_parallel(run_part, linear->panel_parts * linear->row_parts, linear);
}

#endif
