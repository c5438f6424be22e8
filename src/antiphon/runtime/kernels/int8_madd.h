/* The int8 kernel's inner part where there are no int8 dot products: activations of 16 bits.
 *
 * On AVX2 `vpmaddwd` (16 x 16 bits, pairs added) does as many products a cycle as 8-bit products with their widening
 * additions, is exact, and lets activations have as many levels as 32-bit sums hold. Elsewhere: C that compilers turn
 * into vectors.
 *
 * A variant defines: PANEL_COLUMNS of a panel, GROUP_K successive k of a column, Level (the type of a quantized
 * activation), ZERO_LEVEL (that of 0), and the functions levels(inner), quantize_row and tile. */
#ifndef ANTIPHON_INT8_MADD_H
#define ANTIPHON_INT8_MADD_H

#include "linear.h"

#ifdef __AVX2__
enum { PANEL_COLUMNS = 16, GROUP_K = 2, ZERO_LEVEL = 0 };
#else
enum { PANEL_COLUMNS = 16, GROUP_K = 1, ZERO_LEVEL = 0 };
#endif
typedef int16_t Level;

/* The largest level: 127 x level x inner must stay below 2^31. */
INLINE int64_t levels(int64_t inner) { return smaller(32767, 2147483647 / (127 * (inner > 0 ? inner : 1))); }

INLINE void quantize_row(const float *x, int64_t count, float factor, Level *to) {
    const Floats magic = all8(12582912.0f); /* 1.5 * 2^23: adding it rounds to a whole number */
    for (int64_t k = 0; k < count; k += LANES) {
        Floats value = count - k >= LANES ? load8(x + k) : load_some(x + k, count - k);
        Words whole = (Words)((Bits)(value * factor + magic) - (Bits)magic);
#ifdef __AVX2__
        __m128i low = _mm256_castsi256_si128((__m256i)whole), high = _mm256_extracti128_si256((__m256i)whole, 1);
        _mm_storeu_si128((__m128i *)(to + k), _mm_packs_epi32(low, high));
#else
        for (int i = 0; i < LANES; i++) to[k + i] = (Level)whole[i];
#endif
    }
}

#ifdef __AVX2__
INLINE __m256i pair_of(const Level *x) {
    int32_t pair;
    memcpy(&pair, x, sizeof pair);
    return _mm256_set1_epi32(pair);
}

/* sums (rows, 16) of x (rows, groups, 2) times a panel of weights, int8 in memory; what lies `ahead` of it, in bytes,
 * is prefetched. */
INLINE void tile(const Level *x, int64_t stride, const int8_t *panel, int64_t groups, const int rows, int64_t ahead,
                 int32_t (*sums)[PANEL_COLUMNS]) {
    __m256i sum[BLOCK_ROWS][2];
    for (int row = 0; row < rows; row++) sum[row][0] = sum[row][1] = _mm256_setzero_si256();
    for (int64_t group = 0; group < groups; group++) {
        const __m128i *weights = (const __m128i *)(panel + group * PANEL_COLUMNS * GROUP_K);
        __builtin_prefetch((const char *)weights + ahead);
        __m256i low = _mm256_cvtepi8_epi16(_mm_loadu_si128(weights));
        __m256i high = _mm256_cvtepi8_epi16(_mm_loadu_si128(weights + 1));
        for (int row = 0; row < rows; row++) {
            __m256i pair = pair_of(x + row * stride + group * GROUP_K);
            sum[row][0] = _mm256_add_epi32(sum[row][0], _mm256_madd_epi16(pair, low));
            sum[row][1] = _mm256_add_epi32(sum[row][1], _mm256_madd_epi16(pair, high));
        }
    }
    for (int row = 0; row < rows; row++) {
        _mm256_storeu_si256((__m256i *)sums[row], sum[row][0]);
        _mm256_storeu_si256((__m256i *)(sums[row] + LANES), sum[row][1]);
    }
}
#else
INLINE void tile(const Level *x, int64_t stride, const int8_t *panel, int64_t groups, const int rows, int64_t ahead,
                 int32_t (*sums)[PANEL_COLUMNS]) {
    (void)ahead;
    int32_t sum[BLOCK_ROWS][PANEL_COLUMNS] = {{0}};
    for (int64_t group = 0; group < groups; group++)
        for (int row = 0; row < rows; row++) {
            int32_t value = x[row * stride + group];
            for (int c = 0; c < PANEL_COLUMNS; c++) sum[row][c] += value * (int32_t)panel[group * PANEL_COLUMNS + c];
        }
    memcpy(sums, sum, sizeof sum[0] * (size_t)rows);
}
#endif

#endif
