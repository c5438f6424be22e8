/* LayerNorm (Ba et al. 2016) and RMSNorm (Zhang & Sennrich 2019) of rows, with the residual sum before them. */
#include "parallel.h"
#include "softmax.h"

/* The sum over D of x - mean, or of its square; four accumulators hide the latency of an addition. */
INLINE float summed(const float *x, int64_t D, float mean, int squared) {
    Floats sums[4] = {{0}}, m = all8(mean);
    int64_t i = 0;
    for (; i + 32 <= D; i += 32)
        for (int j = 0; j < 4; j++) {
            Floats v = load8(x + i + 8 * j) - m;
            sums[j] += squared ? v * v : v;
        }
    for (; i + 8 <= D; i += 8) {
        Floats v = load8(x + i) - m;
        sums[0] += squared ? v * v : v;
    }
    float rest = 0;
    for (; i < D; i++) rest += squared ? (x[i] - mean) * (x[i] - mean) : x[i] - mean;
    return sum_of((sums[0] + sums[1]) + (sums[2] + sums[3])) + rest;
}

static void add_rows(const float *a, const float *b, float *sum, int64_t D) {
    int64_t i = 0;
    for (; i + 8 <= D; i += 8) store8(sum + i, load8(a + i) + load8(b + i));
    for (; i < D; i++) sum[i] = a[i] + b[i];
}

static void scale_row(const float *x, const float *weight, const float *bias, float *out, int64_t D, float mean,
                      float factor) {
    Floats m = all8(mean), f = all8(factor);
    int64_t i = 0;
    for (; i + 8 <= D; i += 8) {
        Floats v = (load8(x + i) - m) * f;
        if (weight) v *= load8(weight + i);
        if (bias) v += load8(bias + i);
        store8(out + i, v);
    }
    for (; i < D; i++) {
        float v = (x[i] - mean) * factor;
        if (weight) v *= weight[i];
        if (bias) v += bias[i];
        out[i] = v;
    }
}

static void norm_rows(const Step *s, int64_t from, int64_t to) {
    const int64_t D = s->n[NORM_DIM], x_stride = s->n[NORM_X_STRIDE], out_stride = s->n[NORM_OUT_STRIDE];
    const float *residual = s->p[NORM_RESIDUAL], eps = (float)s->f[NORM_EPS];
    for (int64_t r = from; r < to; r++) {
        const float *x = (const float *)s->p[NORM_X] + r * x_stride;
        float *out = (float *)s->p[NORM_OUT] + r * out_stride;
        if (residual) {
            float *sum = s->p[NORM_SUM] ? (float *)s->p[NORM_SUM] + r * x_stride : out;
            add_rows(x, residual + r * x_stride, sum, D);
            x = sum;
        }
        float mean = s->n[NORM_KIND] == NORM_KIND_LAYER ? summed(x, D, 0, 0) / (float)D : 0;
        float square = summed(x, D, mean, 1) / (float)D;
        scale_row(x, s->p[NORM_WEIGHT], s->p[NORM_BIAS], out, D, mean, 1.0f / sqrtf(square + eps));
    }
}

/* out = norm(x + residual) * weight + bias, and sum = x + residual. Weight, bias, residual and sum may be NULL; sum may
 * be x or the residual. */
EXPORT void norm(const Step *s) { in_ranges(s, norm_rows, s->n[NORM_ROWS], s->n[NORM_ROWS] * s->n[NORM_DIM]); }
