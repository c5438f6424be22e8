/* The largest k logits of each row as log-probabilities, in one pass over memory. */
#include "top_k.h"
#include "parallel.h"

static void top_rows(const Step *s, int64_t from, int64_t to) {
    const int64_t V = s->n[TOP_VOCAB_SIZE], k = s->n[TOP_K];
    const int64_t *forbidden = s->p[TOP_FORBIDDEN], forbidden_count = forbidden ? s->n[TOP_FORBIDDEN_COUNT] : 0;
    float *values = s->p[TOP_VALUES], *logsumexp = s->p[TOP_LOGSUMEXP];
    int64_t *ids = s->p[TOP_IDS];
    for (int64_t r = from; r < to; r++) {
        const float *x = (const float *)s->p[TOP_LOGITS] + r * s->n[TOP_LOGITS_STRIDE];
        Best best = {k, 0, values + r * k, ids + r * k, forbidden, forbidden_count};
        Total total = {-INFINITY, 0};
        int64_t first = 0;
        for (; first + BLOCK_LOGITS <= V; first += BLOCK_LOGITS) take_block(&total, &best, x + first, first);
        if (first < V) {
            float rest[BLOCK_LOGITS];
            for (int64_t i = 0; i < BLOCK_LOGITS; i++) rest[i] = first + i < V ? x[first + i] : -INFINITY;
            take_block(&total, &best, rest, first);
        }
        logsumexp[r] = (float)conclude(&best, total, V);
    }
}

/* The largest first, of equal ones the lower id first. Forbidden ids (ascending; or NULL) count in the logsumexp and
 * are never selected; a logit of -inf is as if forbidden. */
EXPORT void top(const Step *s) { in_ranges(s, top_rows, s->n[TOP_ROWS], 4 * s->n[TOP_ROWS] * s->n[TOP_VOCAB_SIZE]); }
