/* The best entries of each row of logits as log-probabilities, in one pass over memory. */
#include "best.h"
#include "shares.h"

static void top_rows(const Step *s, int64_t from, int64_t to) {
    const int64_t V = s->n[1], k = s->n[3];
    for (int64_t r = from; r < to; r++) {
        const float *x = (const float *)s->p[0] + r * s->n[2];
        Best best = {k, 0, (float *)s->p[3] + r * k, (int64_t *)s->p[4] + r * k, s->p[1], s->p[1] ? s->n[4] : 0};
        Total total = {-INFINITY, 0};
        int64_t first = 0;
        for (; first + LOGITS <= V; first += LOGITS) take_block(&total, &best, x + first, first);
        if (first < V) {
            float rest[LOGITS];
            for (int64_t i = 0; i < LOGITS; i++) rest[i] = first + i < V ? x[first + i] : -INFINITY;
            take_block(&total, &best, rest, first);
        }
        ((float *)s->p[2])[r] = (float)conclude(&best, total, V);
    }
}

/* p: logits (R, V), forbidden ids int64 or NULL, out: log-sum-exp (R), log-probabilities (R, k), ids int64 (R, k).
 * n: R, V, row stride, k, how many are forbidden (ascending). Best first, of equals the lower id first. Forbidden ids
 * count in the sum and are never among the best; a logit of -inf is as if forbidden. */
EXPORT void top(const Step *s) { in_shares(s, top_rows, s->n[0], 4 * s->n[0] * s->n[1]); }
