/* What a softmax needs of vectors: sums and maxima across lanes, each in one fixed order. */
#ifndef ANTIPHON_SOFTMAX_H
#define ANTIPHON_SOFTMAX_H

#include <math.h>

#include "vectors.h"

INLINE float sum_of(Floats v) { return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])); }

INLINE float max_of(Floats v) {
    float most = v[0];
    for (int i = 1; i < LANES; i++) most = v[i] > most ? v[i] : most;
    return most;
}

/* Lane i is the sum of the lanes of v[i], in the same order for every i. */
INLINE Floats sums8(const Floats *v) {
#ifdef __AVX__
    __m256 a = _mm256_hadd_ps(_mm256_hadd_ps((__m256)v[0], (__m256)v[1]), _mm256_hadd_ps((__m256)v[2], (__m256)v[3]));
    __m256 b = _mm256_hadd_ps(_mm256_hadd_ps((__m256)v[4], (__m256)v[5]), _mm256_hadd_ps((__m256)v[6], (__m256)v[7]));
    return (Floats)_mm256_permute2f128_ps(a, b, 0x20) + (Floats)_mm256_permute2f128_ps(a, b, 0x31);
#else
    Floats sums;
    for (int i = 0; i < LANES; i++) sums[i] = sum_of(v[i]);
    return sums;
#endif
}

/* e^x of x <= 0, for sums of at least 1: what is below e^-87 is e^-87, which such a sum does not notice. Cheaper than
 * exp8, with the same polynomial. */
INLINE Floats exp_below8(Floats x) {
    const Floats magic = all8(12582912.0f); /* 1.5 * 2^23: adding it rounds to a whole number */
    x = at_least8(all8(-87.0f), x);
    Floats moved = x * 1.44269504f + magic, power = moved - magic;
    Floats rest = (x - power * 0.693359375f) + power * 2.12194440e-4f; /* x - power ln 2, in two pieces */
    Floats high = rest * (rest * (rest * (rest * 0.00139504f + 0.00836881f) + 0.04166621f) + 0.16666519f) + 0.5f;
    Floats value = rest * rest * high + rest + 1.0f;
    return value * (Floats)(((Bits)moved << 23) + 0x3f800000u); /* times 2^power */
}

#endif
