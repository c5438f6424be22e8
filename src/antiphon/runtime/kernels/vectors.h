/* Eight floats at a time, on any processor: loads and stores of any alignment, and the elementary functions.
 *
 * Written with the vector types of GCC and Clang, which become AVX registers where there are any and pairs of shorter
 * ones elsewhere. On AVX `Floats` and `__m256` convert into each other. NaN stays NaN in every function.
 *
 * The polynomials were fitted here (least squares, reweighted to an equal error) against float64; largest errors found
 * in float32 over all the range: exp8 1.5e-7 relative, tanh8 2e-7 relative, erf8 2e-7 relative. */
#ifndef ANTIPHON_VECTORS_H
#define ANTIPHON_VECTORS_H

#include <stdint.h>
#include <string.h>
#ifdef __AVX__
#include <immintrin.h>
#endif
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi" /* every function is inlined: how vectors are passed does not matter */
#endif

#define INLINE static inline __attribute__((always_inline, unused))

enum { LANES = 8 };
typedef float Floats __attribute__((vector_size(32)));
typedef int32_t Words __attribute__((vector_size(32)));
typedef uint32_t Bits __attribute__((vector_size(32)));

INLINE Floats all8(float value) { return (Floats){value, value, value, value, value, value, value, value}; }

INLINE Floats load8(const float *from) {
    Floats value;
    memcpy(&value, from, sizeof value);
    return value;
}

INLINE void store8(float *to, Floats value) { memcpy(to, &value, sizeof value); }

/* The first `count` (up to 8) from memory, the others 0; and the first `count` to memory. */
INLINE Floats load_some(const float *from, int64_t count) {
    float held[LANES] = {0};
    if (count > 0) memcpy(held, from, sizeof(float) * (size_t)(count < LANES ? count : LANES));
    return load8(held);
}

INLINE void store_some(float *to, Floats value, int64_t count) {
    if (count >= LANES)
        store8(to, value);
    else if (count > 0)
        memcpy(to, &value, sizeof(float) * (size_t)count);
}

/* yes where the mask (a comparison's result) is set, no elsewhere. */
INLINE Floats choose8(Words mask, Floats yes, Floats no) {
#ifdef __AVX__
    return (Floats)_mm256_blendv_ps((__m256)no, (__m256)yes, (__m256)mask);
#else
    return (Floats)((mask & (Words)yes) | (~mask & (Words)no));
#endif
}

/* The smaller and the larger; `value`, the second, if either is NaN. */
INLINE Floats at_most8(Floats limit, Floats value) {
#ifdef __AVX__
    return (Floats)_mm256_min_ps((__m256)limit, (__m256)value);
#else
    return choose8(limit < value, limit, value);
#endif
}

INLINE Floats at_least8(Floats limit, Floats value) {
#ifdef __AVX__
    return (Floats)_mm256_max_ps((__m256)limit, (__m256)value);
#else
    return choose8(limit > value, limit, value);
#endif
}

/* Eight half-precision numbers (IEEE 754 binary16) as floats; what is not a number stays none. */
INLINE Floats load8_half(const uint16_t *from) {
#ifdef __F16C__
    return (Floats)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
#else
    Bits bits;
    for (int i = 0; i < LANES; i++) bits[i] = from[i];
    Bits endless = (Bits)((bits & 0x7c00u) == 0x7c00u) & 0x7f800000u;
    Floats size = (Floats)((bits & 0x7fffu) << 13) * 0x1p112f; /* the exponents' biases are 112 apart */
    return (Floats)((Bits)size | endless | (bits & 0x8000u) << 16);
#endif
}

/* Eight floats as half-precision numbers, rounded to the nearest, what is too large to the largest (65,504). */
INLINE void store8_half(uint16_t *to, Floats value) {
    value = at_least8(all8(-65504.0f), at_most8(all8(65504.0f), value));
#ifdef __F16C__
    _mm_storeu_si128((__m128i *)to, _mm256_cvtps_ph((__m256)value, _MM_FROUND_TO_NEAREST_INT));
#else
    Bits bits = (Bits)value, size = bits & 0x7fffffffu, none = (Bits)(size > 0x7f800000u);
    /* Small ones: the addition leaves whole multiples of 2^-24, the smallest half, in the last bits. Others: the bit
     * that decides of a tie is added, and the exponent's bias changed. */
    Bits small = (Bits)((Floats)size + 0.5f) - 0x3f000000u;
    Bits large = (size + 0xfffu + (size >> 13 & 1u) - (112u << 23)) >> 13;
    Bits is_small = (Bits)(size < 0x38800000u);
    Bits half = (is_small & small) | (~is_small & large);
    half = (none & 0x7e00u) | (~none & half) | (bits >> 16 & 0x8000u);
    for (int i = 0; i < LANES; i++) to[i] = (uint16_t)half[i];
#endif
}

INLINE Floats size8(Floats x) { return (Floats)((Words)x & 0x7fffffff); }

/* The size of `size` (not negative) with the sign of `sign`. */
INLINE Floats signed8(Floats size, Floats sign) {
    return (Floats)((Bits)size | ((Bits)sign & 0x80000000u));
}

/* e^x: 0 for -inf and whatever is too small, inf for what is too large; exactly 1 for 0. */
INLINE Floats exp8(Floats x) {
    const Floats magic = all8(12582912.0f); /* 1.5 * 2^23: adding it rounds to a whole number */
    x = at_least8(all8(-104.0f), at_most8(all8(89.0f), x));
    Floats moved = x * 1.44269504f + magic, power = moved - magic;
    Floats rest = (x - power * 0.693359375f) + power * 2.12194440e-4f; /* x - power ln 2, in two pieces */
    Floats high = rest * (rest * (rest * (rest * 0.00139504f + 0.00836881f) + 0.04166621f) + 0.16666519f) + 0.5f;
    Floats value = rest * rest * high + rest + 1.0f;
    Words whole = (Words)((Bits)moved - (Bits)magic), half = whole >> 1; /* two factors reach 2^128 and 2^-149 */
    Floats first = (Floats)(((Bits)half + 127u) << 23), second = (Floats)(((Bits)whole - (Bits)half + 127u) << 23);
    return value * first * second;
}

INLINE Floats tanh8(Floats x) {
    Floats size = size8(x), square = x * x;
    Floats near = square * (square * (square * (square * -0.00560156f + 0.02054961f) - 0.05371346f) + 0.13331145f);
    near = size + size * square * (near - 0.33333272f);
    Floats far = 1.0f - 2.0f / (exp8(size + size) + 1.0f);
    return signed8(choose8(size < all8(0.625f), near, far), x);
}

/* erf: a polynomial of x^2 up to 1, then 1 - exp(-x^2) t (a polynomial of t) with t = 1 / (1 + x / 2). */
INLINE Floats erf8(Floats x) {
    Floats size = size8(x), square = x * x, t = 1.0f / (1.0f + 0.5f * size);
    Floats near = square * (square * (square * -5.66015513e-4f + 4.92478948e-3f) - 2.67177074e-2f);
    near = size * (square * (square * (near + 0.112804116f) - 0.376123557f) + 1.12837913f);
    Floats far = t * (t * (t * (t * -0.20329913f + 0.55622937f) + 0.02936881f) + 0.34226958f) + 0.275492f;
    far = 1.0f - exp8(-square) * t * far;
    return signed8(choose8(size < all8(1.0f), near, far), x);
}

INLINE Floats silu8(Floats x) { return x / (1.0f + exp8(-x)); }

/* x times the normal distribution function of x (Hendrycks and Gimpel, 2016, section 2), and its form with tanh. */
INLINE Floats gelu8(Floats x) { return x * (0.5f + 0.5f * erf8(x * 0.70710678f)); }

INLINE Floats gelu_tanh8(Floats x) {
    return x * (0.5f + 0.5f * tanh8(0.79788456f * (x + 0.044715f * x * x * x)));
}

#endif
