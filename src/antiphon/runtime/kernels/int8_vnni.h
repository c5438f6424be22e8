/* The int8 kernel's inner part where the processor adds four products of bytes at once (AVX-512 VNNI, AVX-VNNI):
 * activations of 8 bits, moved by 128 because `vpdpbusd` wants them without a sign; what that adds to a sum, 128 times
 * the column's weights, is subtracted again.
 *
 * The interface is that of int8_madd.h. -DANTIPHON_EMULATE_VNNI replaces the one instruction, for tests elsewhere. */
#ifndef ANTIPHON_INT8_VNNI_H
#define ANTIPHON_INT8_VNNI_H

#include "linear.h"

enum { GROUP_K = 4, ZERO_LEVEL = 128 };
typedef uint8_t Level;

/* `Dots`: the sums of REGISTER_COLUMNS columns. dot4(sums, x, w): sums[c] += x[0..4) . w[c][0..4). */
#if defined(ANTIPHON_EMULATE_VNNI)
enum { REGISTER_COLUMNS = 16 };
typedef struct {
    int32_t of[REGISTER_COLUMNS];
} Dots;
INLINE Dots no_dots(void) { return (Dots){{0}}; }
INLINE void store_dots(int32_t *to, Dots sums) { memcpy(to, sums.of, sizeof sums.of); }
INLINE Dots dot4(Dots sums, const Level *x, const int8_t *w) {
    for (int c = 0; c < REGISTER_COLUMNS; c++)
        for (int i = 0; i < GROUP_K; i++) sums.of[c] += x[i] * w[c * GROUP_K + i];
    return sums;
}
#else
INLINE int32_t four(const Level *x) {
    int32_t bytes;
    memcpy(&bytes, x, sizeof bytes);
    return bytes;
}
#if defined(__AVX512VNNI__) && defined(__AVX512F__)
enum { REGISTER_COLUMNS = 16 };
typedef __m512i Dots;
INLINE Dots no_dots(void) { return _mm512_setzero_si512(); }
INLINE void store_dots(int32_t *to, Dots sums) { _mm512_storeu_si512(to, sums); }
INLINE Dots dot4(Dots sums, const Level *x, const int8_t *w) {
    return _mm512_dpbusd_epi32(sums, _mm512_set1_epi32(four(x)), _mm512_loadu_si512(w));
}
#else
enum { REGISTER_COLUMNS = 8 };
typedef __m256i Dots;
INLINE Dots no_dots(void) { return _mm256_setzero_si256(); }
INLINE void store_dots(int32_t *to, Dots sums) { _mm256_storeu_si256((__m256i *)to, sums); }
INLINE Dots dot4(Dots sums, const Level *x, const int8_t *w) {
    return _mm256_dpbusd_avx_epi32(sums, _mm256_set1_epi32(four(x)), _mm256_loadu_si256((const __m256i *)w));
}
#endif
#endif
enum { PANEL_COLUMNS = 2 * REGISTER_COLUMNS }; /* two registers: with six rows 12 sums hide the instruction's latency */

/* The largest level: 127 x level x inner must stay below 2^31 (sums with the 128 in them may wrap). */
INLINE int64_t levels(int64_t inner) { return smaller(127, 2147483647 / (127 * (inner > 0 ? inner : 1))); }

INLINE void quantize_row(const float *x, int64_t count, float factor, Level *to) {
    const Floats magic = all8(12582912.0f); /* 1.5 * 2^23: adding it rounds to a whole number */
    for (int64_t k = 0; k < count; k += LANES) {
        Floats value = count - k >= LANES ? load8(x + k) : load_some(x + k, count - k);
        Words whole = (Words)((Bits)(value * factor + magic) - (Bits)magic) + ZERO_LEVEL;
        for (int i = 0; i < LANES; i++) to[k + i] = (Level)whole[i];
    }
}

/* sums (rows, PANEL_COLUMNS) of x (rows, groups, 4) times a panel; what lies `ahead` of it, in bytes, is prefetched. */
INLINE void tile(const Level *x, int64_t stride, const int8_t *panel, int64_t groups, const int rows, int64_t ahead,
                 int32_t (*sums)[PANEL_COLUMNS]) {
    Dots sum[BLOCK_ROWS][2];
    for (int row = 0; row < rows; row++) sum[row][0] = sum[row][1] = no_dots();
    for (int64_t group = 0; group < groups; group++) {
        const int8_t *weights = panel + group * PANEL_COLUMNS * GROUP_K;
        __builtin_prefetch(weights + ahead);
        if (PANEL_COLUMNS * GROUP_K > 64) __builtin_prefetch(weights + ahead + 64);
        for (int row = 0; row < rows; row++) {
            const Level *levels4 = x + row * stride + group * GROUP_K;
            sum[row][0] = dot4(sum[row][0], levels4, weights);
            sum[row][1] = dot4(sum[row][1], levels4, weights + REGISTER_COLUMNS * GROUP_K);
        }
    }
    for (int row = 0; row < rows; row++) {
        store_dots(sums[row], sum[row][0]);
        store_dots(sums[row] + REGISTER_COLUMNS, sum[row][1]);
    }
}

#endif
