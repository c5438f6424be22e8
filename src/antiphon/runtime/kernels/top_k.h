/* The largest k of a row of logits, which is read block by block, and the row's log-sum-exp.
 *
 * A block fits the L1 cache and is read three times: for its maximum, for its sum of exponentials with the running
 * maximum of Milakov and Gimelshein (2018), and, if its maximum exceeds the smallest of the k so far, for those logits
 * that do. */
#ifndef ANTIPHON_TOP_K_H
#define ANTIPHON_TOP_K_H

#include "softmax.h"
#include "step.h"

enum { BLOCK_LOGITS = 256 }; /* logits of a block */

/* The largest logits so far, in descending order, in the memory of the results. */
typedef struct {
    int64_t k, count;
    float *value;
    int64_t *id;
    const int64_t *forbidden; /* ascending */
    int64_t forbidden_count;
} Best;

typedef struct {
    float most;
    double sum; /* of exp(logit - most) */
} Total;

static inline int is_forbidden(const Best *best, int64_t id) {
    int64_t low = 0, high = best->forbidden_count;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (best->forbidden[middle] < id) low = middle + 1;
        else high = middle;
    }
    return low < best->forbidden_count && best->forbidden[low] == id;
}

/* The value that a logit must exceed to be selected. Ids come in ascending order, and of equals the lower id wins. */
static inline float threshold(const Best *best) { return best->count < best->k ? -INFINITY : best->value[best->k - 1]; }

static inline void offer(Best *best, float value, int64_t id) {
    if (!(value > threshold(best)) || is_forbidden(best, id)) return;
    int64_t at = best->count < best->k ? best->count++ : best->k - 1;
    for (; at > 0 && best->value[at - 1] < value; at--) {
        best->value[at] = best->value[at - 1];
        best->id[at] = best->id[at - 1];
    }
    best->value[at] = value;
    best->id[at] = id;
}

/* Bit i is set where lane i of the mask is. */
INLINE int lanes_set(Words mask) {
#ifdef __AVX__
    return _mm256_movemask_ps((__m256)mask);
#else
    int bits = 0;
    for (int i = 0; i < LANES; i++) bits |= (mask[i] & 1) << i;
    return bits;
#endif
}

static inline void take_best(Best *best, const float *x, int64_t first) {
    for (int64_t i = 0; i < BLOCK_LOGITS; i += LANES) {
        int better = lanes_set(load8(x + i) > threshold(best));
        for (int j = 0; better; j++, better >>= 1)
            if (better & 1) offer(best, x[i + j], first + i + j);
    }
}

/* A block of BLOCK_LOGITS logits, of which the first has the id `first`; those after the last id are -inf. */
static inline void take_block(Total *total, Best *best, const float *x, int64_t first) {
    Floats most[4], sums[4];
    for (int j = 0; j < 4; j++) most[j] = all8(-INFINITY), sums[j] = all8(0);
    for (int64_t i = 0; i < BLOCK_LOGITS; i += 4 * LANES)
        for (int j = 0; j < 4; j++) most[j] = at_least8(load8(x + i + j * LANES), most[j]);
    float largest = max_of(at_least8(at_least8(most[0], most[1]), at_least8(most[2], most[3])));
    if (largest > total->most) {
        total->sum *= exp((double)total->most - (double)largest);
        total->most = largest;
    }
    const float shift = total->most == -INFINITY ? 0 : total->most;
    for (int64_t i = 0; i < BLOCK_LOGITS; i += 4 * LANES)
        for (int j = 0; j < 4; j++) sums[j] += exp_below8(load8(x + i + j * LANES) - shift);
    total->sum += sum_of((sums[0] + sums[1]) + (sums[2] + sums[3]));
    if (largest > threshold(best)) take_best(best, x, first);
}

/* Turns the selected logits of a row into log-probabilities and returns the log-sum-exp. With fewer than k candidates
 * the rest is -inf with id 0; a row with NaN or +inf gives NaN and the ids from 0 on. */
static inline double conclude(const Best *best, Total total, int64_t V) {
    const double lse = total.sum == 0 ? -INFINITY : (double)total.most + log(total.sum);
    const int64_t broken = lse != lse;
    for (int64_t i = 0; i < best->k; i++) {
        const int found = i < best->count;
        best->value[i] = broken ? NAN : found ? (float)((double)best->value[i] - lse) : -INFINITY;
        best->id[i] = broken ? (i < V ? i : 0) : found ? best->id[i] : 0;
    }
    return lse;
}

#endif
