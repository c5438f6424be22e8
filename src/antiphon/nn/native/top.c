/* The best entries of each row of logits as log-probabilities, in one pass over memory.
 *
 * Blocks that fit the first cache are read three times: for their maximum, for their sum of exponentials with the
 * running maximum of Milakov and Gimelshein (2018), and, where they hold anything better than the worst of the best so
 * far, for that. */
#include "shares.h"
#include "softmax.h"

enum { BLOCK = 256, MOST = 128 }; /* logits at a time; the largest k */

typedef struct {
    int64_t k, count;
    float value[MOST]; /* best first */
    int64_t id[MOST];
    const int64_t *forbidden; /* ascending */
    int64_t forbidden_count;
} Best;

typedef struct {
    float most;
    double sum; /* of exp(logit - most) */
} Total;

static int is_forbidden(const Best *best, int64_t id) {
    int64_t low = 0, high = best->forbidden_count;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (best->forbidden[middle] < id) low = middle + 1;
        else high = middle;
    }
    return low < best->forbidden_count && best->forbidden[low] == id;
}

/* What a logit must exceed to be among the best: ids come in ascending order, so an equal one is too late. */
static float threshold(const Best *best) { return best->count < best->k ? -INFINITY : best->value[best->k - 1]; }

static void offer(Best *best, float value, int64_t id) {
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

static void take_best(Best *best, const float *x, int64_t first) {
    for (int64_t i = 0; i < BLOCK; i += LANES) {
        int better = lanes_set(load8(x + i) > threshold(best));
        for (int j = 0; better; j++, better >>= 1)
            if (better & 1) offer(best, x[i + j], first + i + j);
    }
}

/* A block of BLOCK logits, of which the first has the id `first`. */
static void take_block(Total *total, Best *best, const float *x, int64_t first) {
    Floats most[4], sums[4];
    for (int j = 0; j < 4; j++) most[j] = all8(-INFINITY), sums[j] = all8(0);
    for (int64_t i = 0; i < BLOCK; i += 4 * LANES)
        for (int j = 0; j < 4; j++) most[j] = at_least8(load8(x + i + j * LANES), most[j]);
    float here = max_of(at_least8(at_least8(most[0], most[1]), at_least8(most[2], most[3])));
    if (here > total->most) {
        total->sum *= exp((double)total->most - (double)here);
        total->most = here;
    }
    const float shift = total->most == -INFINITY ? 0 : total->most;
    for (int64_t i = 0; i < BLOCK; i += 4 * LANES)
        for (int j = 0; j < 4; j++) sums[j] += exp_below8(load8(x + i + j * LANES) - shift);
    total->sum += sum_of((sums[0] + sums[1]) + (sums[2] + sums[3]));
    if (here > threshold(best)) take_best(best, x, first);
}

static void top_row(const Step *s, int64_t r, Best *best) {
    const int64_t V = s->n[1], k = s->n[3];
    const float *x = (const float *)s->p[0] + r * s->n[2];
    float *values = (float *)s->p[3] + r * k;
    int64_t *ids = (int64_t *)s->p[4] + r * k, first = 0;
    Total total = {-INFINITY, 0};
    best->count = 0;
    for (; first + BLOCK <= V; first += BLOCK) take_block(&total, best, x + first, first);
    if (first < V) {
        float rest[BLOCK];
        for (int64_t i = 0; i < BLOCK; i++) rest[i] = first + i < V ? x[first + i] : -INFINITY;
        take_block(&total, best, rest, first);
    }
    const double lse = total.sum == 0 ? -INFINITY : (double)total.most + log(total.sum);
    const int64_t broken = lse != lse;
    ((float *)s->p[2])[r] = (float)lse;
    for (int64_t i = 0; i < k; i++) {
        values[i] = broken ? NAN : i < best->count ? (float)((double)best->value[i] - lse) : -INFINITY;
        ids[i] = broken ? (i < V ? i : 0) : i < best->count ? best->id[i] : 0;
    }
}

static void top_rows(const Step *s, int64_t from, int64_t to) {
    Best best;
    best.k = s->n[3];
    best.forbidden = s->p[1];
    best.forbidden_count = s->p[1] ? s->n[4] : 0;
    for (int64_t r = from; r < to; r++) top_row(s, r, &best);
}

/* p: logits (R, V), forbidden ids int64 or NULL, out: log-sum-exp (R), log-probabilities (R, k), ids int64 (R, k).
 * n: R, V, row stride, k (1 to 128), how many are forbidden (ascending). Best first, of equals the lower id first.
 * Forbidden ids count in the sum and are never among the best. A logit of -inf is as if forbidden; where fewer than k
 * are left, -inf and id 0 follow. A row with NaN or +inf gives NaN and the ids from 0 on. */
EXPORT void top(const Step *s) { in_shares(s, top_rows, s->n[0], 4 * s->n[0] * s->n[1]); }
