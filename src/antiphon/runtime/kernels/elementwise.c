/* Sums, products, activations and rotations, number by number. */
#include "shares.h"
#include "vectors.h"

static void add_range(const Step *s, int64_t from, int64_t to) {
    const float *a = s->p[0], *b = s->p[1];
    float *out = s->p[2];
    for (int64_t i = from; i < to; i++) out[i] = a[i] + b[i];
}

static void multiply_range(const Step *s, int64_t from, int64_t to) {
    const float *a = s->p[0], *b = s->p[1];
    float *out = s->p[2];
    for (int64_t i = from; i < to; i++) out[i] = a[i] * b[i];
}

static void scale_range(const Step *s, int64_t from, int64_t to) {
    const float *a = s->p[0], factor = (float)s->f[0];
    float *out = s->p[2];
    for (int64_t i = from; i < to; i++) out[i] = a[i] * factor;
}

INLINE Floats activated(Floats x, int kind) {
    switch (kind) {
    case RELU: return choose8(x < 0.0f, all8(0), x); /* NaN stays */
    case GELU: return gelu8(x);
    case GELU_TANH: return gelu_tanh8(x);
    case SILU: return silu8(x);
    default: return x;
    }
}

INLINE void activate_run(const float *a, float *out, int64_t from, int64_t to, int kind) {
    int64_t i = from;
    for (; i + 8 <= to; i += 8) store8(out + i, activated(load8(a + i), kind));
    if (i < to) store_some(out + i, activated(load_some(a + i, to - i), kind), to - i);
}

static void activate_range(const Step *s, int64_t from, int64_t to) {
    const float *a = s->p[0];
    float *out = s->p[2];
    switch (s->n[1]) {
    case RELU: activate_run(a, out, from, to, RELU); break;
    case GELU: activate_run(a, out, from, to, GELU); break;
    case GELU_TANH: activate_run(a, out, from, to, GELU_TANH); break;
    case SILU: activate_run(a, out, from, to, SILU); break;
    default: activate_run(a, out, from, to, PLAIN);
    }
}

/* p: a, b, out (any may be the same). n: count. */
EXPORT void add(const Step *s) { in_shares(s, add_range, s->n[0], s->n[0]); }

/* p: a, b, out. n: count. */
EXPORT void multiply(const Step *s) { in_shares(s, multiply_range, s->n[0], s->n[0]); }

/* p: a, nothing, out. n: count. f: factor. */
EXPORT void scale(const Step *s) { in_shares(s, scale_range, s->n[0], s->n[0]); }

/* p: a, nothing, out. n: count, activation. */
EXPORT void activate(const Step *s) { in_shares(s, activate_range, s->n[0], 4 * s->n[0]); }

/* The pair (i, i + half) of a vector turned by an angle; out may be x. */
static void turn(const float *x, const float *cos, const float *sin, float *out, int64_t half) {
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
    const int64_t *n = s->n, H = n[1], L = n[2];
    for (int64_t row = from; row < to; row++) {
        int64_t b = row / (H * L), h = row / L % H, l = row % L, at = b * n[7] + l * n[8];
        turn((const float *)s->p[0] + b * n[4] + h * n[5] + l * n[6], (const float *)s->p[1] + at,
             (const float *)s->p[2] + at, (float *)s->p[3] + b * n[9] + h * n[10] + l * n[11], n[3] / 2);
    }
}

/* Su et al. 2021, eq. 34, in halves. p: x (B, H, L, D), cos, sin (B or 1, 1, L, D/2), out (may be x). n: B, H, L, D,
 * strides (b, h, l) of x, (b, l) of the tables, (b, h, l) of out. */
EXPORT void rotary(const Step *s) {
    int64_t rows = s->n[0] * s->n[1] * s->n[2];
    in_shares(s, rotary_rows, rows, rows * s->n[3]);
}
