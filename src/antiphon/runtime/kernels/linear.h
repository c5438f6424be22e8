/* What the linear kernels share: how the work is cut into panels of columns and blocks of rows, and what happens to a
 * product before it is stored (bias, activation, residual). */
#ifndef ANTIPHON_LINEAR_H
#define ANTIPHON_LINEAR_H

#include "step.h"
#include "vectors.h"

enum { BLOCK = 6 }; /* rows of a tile at most: 6 x 16 floats are 12 of 16 registers */

INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t up(int64_t count, int64_t by) { return (count + by - 1) / by; }

/* A step of a linear kernel, by name. */
typedef struct Linear Linear;
struct Linear {
    const float *x, *scales, *bias, *residual;
    const void *workspace, *packed;
    float *out;
    int64_t rows, inner, outer, x_stride, out_stride, activation;
    int64_t width; /* columns of a panel */
    void (*run)(const Linear *linear, int64_t row, int64_t rows, int64_t panel, int64_t panels);
    int64_t row_parts, panel_parts;
    int64_t first_row, first_column; /* of `out` */
};

INLINE Linear named(const Step *s) {
    return (Linear){
        .x = s->p[0], .workspace = s->p[1], .packed = s->p[2], .scales = s->p[3], .bias = s->p[4],
        .residual = s->p[5], .out = s->p[6], .rows = s->n[0], .inner = s->n[1], .outer = s->n[2],
        .x_stride = s->n[3], .out_stride = s->n[4], .activation = s->n[5],
    };
}

/* The products of a step, to be run in parts: `run` on any rows and panels. int8: after quantize_all. */
Linear int8_product(const Step *s);
Linear float_product(const Step *s);
void quantize_all(const Step *s);

INLINE Floats activated(Floats x, int64_t activation) {
    switch (activation) {
        case RELU: return at_least8(all8(0.0f), x);
        case GELU: return gelu8(x);
        case GELU_TANH: return gelu_tanh8(x);
        case SILU: return silu8(x);
        default: return x;
    }
}

/* Eight columns from `column` on, to which the residual is added, and out they go. */
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
    int64_t panels = up(linear->outer, linear->width), parts = linear->panel_parts;
    int64_t across = part % parts, down = part / parts;
    int64_t first = panels * across / parts, end = panels * (across + 1) / parts;
    int64_t row = linear->rows * down / linear->row_parts, last = linear->rows * (down + 1) / linear->row_parts;
    linear->run(linear, row, last - row, first, end - first);
}

/* On all threads, if there is enough to do: parts of panels first, then of rows. */
static inline void spread(Linear *linear) {
    int64_t panels = up(linear->outer, linear->width), threads = thread_count();
    if (linear->rows <= 0 || panels <= 0) return;
    double work = (double)linear->rows * (double)linear->inner * (double)linear->outer;
    int64_t wanted = threads <= 1 || work < 1e5 ? 1 : work < 1e6 ? threads : 4 * threads;
    linear->panel_parts = smaller(panels, wanted);
    linear->row_parts = smaller(up(linear->rows, 8 * BLOCK), up(wanted, linear->panel_parts));
    in_parallel(run_part, linear->panel_parts * linear->row_parts, linear);
}

#endif
