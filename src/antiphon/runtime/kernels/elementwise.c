/* Elementwise sums, products and activations, and rotary positions. */
#include "parallel.h"
#include "vectors.h"

static void add_range(const Step *s, int64_t from, int64_t to) {
    const float *a = s->p[ELEMENTWISE_LEFT], *b = s->p[ELEMENTWISE_RIGHT];
    float *out = s->p[ELEMENTWISE_OUT];
    for (int64_t i = from; i < to; i++) out[i] = a[i] + b[i];
}

static void multiply_range(const Step *s, int64_t from, int64_t to) {
    const float *a = s->p[ELEMENTWISE_LEFT], *b = s->p[ELEMENTWISE_RIGHT];
    float *out = s->p[ELEMENTWISE_OUT];
    for (int64_t i = from; i < to; i++) out[i] = a[i] * b[i];
}

static void scale_range(const Step *s, int64_t from, int64_t to) {
    const float *a = s->p[ELEMENTWISE_LEFT], factor = (float)s->f[ELEMENTWISE_FACTOR];
    float *out = s->p[ELEMENTWISE_OUT];
    for (int64_t i = from; i < to; i++) out[i] = a[i] * factor;
}

INLINE Floats activated(Floats x, int kind) {
    switch (kind) {
    case ACTIVATION_RELU: return choose8(x < 0.0f, all8(0), x); /* NaN stays */
    case ACTIVATION_GELU: return gelu8(x);
    case ACTIVATION_GELU_TANH: return gelu_tanh8(x);
    case ACTIVATION_SILU: return silu8(x);
    default: return x;
    }
}

INLINE void activate_run(const float *a, float *out, int64_t from, int64_t to, int kind) {
    int64_t i = from;
    for (; i + 8 <= to; i += 8) store8(out + i, activated(load8(a + i), kind));
    if (i < to) store_some(out + i, activated(load_some(a + i, to - i), kind), to - i);
}

static void activate_range(const Step *s, int64_t from, int64_t to) {
    const float *a = s->p[ELEMENTWISE_LEFT];
    float *out = s->p[ELEMENTWISE_OUT];
    switch (s->n[ELEMENTWISE_ACTIVATION]) {
    case ACTIVATION_RELU: activate_run(a, out, from, to, ACTIVATION_RELU); break;
    case ACTIVATION_GELU: activate_run(a, out, from, to, ACTIVATION_GELU); break;
    case ACTIVATION_GELU_TANH: activate_run(a, out, from, to, ACTIVATION_GELU_TANH); break;
    case ACTIVATION_SILU: activate_run(a, out, from, to, ACTIVATION_SILU); break;
    default: activate_run(a, out, from, to, ACTIVATION_PLAIN);
    }
}

/* out = left + right; any may be the same tensor. */
EXPORT void add(const Step *s) { in_ranges(s, add_range, s->n[ELEMENTWISE_COUNT], s->n[ELEMENTWISE_COUNT]); }

/* out = left * right. */
EXPORT void multiply(const Step *s) { in_ranges(s, multiply_range, s->n[ELEMENTWISE_COUNT], s->n[ELEMENTWISE_COUNT]); }

/* out = left * factor. */
EXPORT void scale(const Step *s) { in_ranges(s, scale_range, s->n[ELEMENTWISE_COUNT], s->n[ELEMENTWISE_COUNT]); }

/* out = activation(left). */
EXPORT void activate(const Step *s) {
    in_ranges(s, activate_range, s->n[ELEMENTWISE_COUNT], 4 * s->n[ELEMENTWISE_COUNT]);
}

/* Rotates the pairs (i, i + half) of a vector by their angles; out may be x. */
static void rotate(const float *x, const float *cos, const float *sin, float *out, int64_t half) {
    int64_t i = 0;
    for (; i + 8 <= half; i += 8) {
        Floats left = load8(x + i), right = load8(x + half + i), c = load8(cos + i), s = load8(sin + i);
        store8(out + i, left * c - right * s);
        store8(out + half + i, right * c + left * s);
    }
    for (; i < half; i++) {
        float left = x[i], right = x[half + i];
        out[i] = left * cos[i] - right * sin[i];
        out[half + i] = right * cos[i] + left * sin[i];
    }
}

static void rotary_rows(const Step *s, int64_t from, int64_t to) {
    const int64_t *n = s->n, H = n[ROTARY_HEADS], L = n[ROTARY_LENGTH];
    const float *x = s->p[ROTARY_X], *cos = s->p[ROTARY_COS], *sin = s->p[ROTARY_SIN];
    float *out = s->p[ROTARY_OUT];
    for (int64_t row = from; row < to; row++) {
        const int64_t b = row / (H * L), h = row / L % H, l = row % L;
        const int64_t angle = b * n[ROTARY_ANGLE_STRIDE_ROW] + l * n[ROTARY_ANGLE_STRIDE_POSITION];
        rotate(x + b * n[ROTARY_X_STRIDE_ROW] + h * n[ROTARY_X_STRIDE_HEAD] + l * n[ROTARY_X_STRIDE_POSITION],
               cos + angle, sin + angle,
               out + b * n[ROTARY_OUT_STRIDE_ROW] + h * n[ROTARY_OUT_STRIDE_HEAD] + l * n[ROTARY_OUT_STRIDE_POSITION],
               n[ROTARY_DIM] / 2);
    }
}

/* Rotary positions (Su et al. 2021, eq. 34) with the pairs (i, i + D/2); out may be x. */
EXPORT void rotary(const Step *s) {
    int64_t vectors = s->n[ROTARY_ROWS] * s->n[ROTARY_HEADS] * s->n[ROTARY_LENGTH];
    in_ranges(s, rotary_rows, vectors, vectors * s->n[ROTARY_DIM]);
}
