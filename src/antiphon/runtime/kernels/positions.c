/* Positions, slots, masks and other integers of a decoding step. */
#include <string.h>

#include "step.h"

/* New tokens get the next free slots of their row; padding (-1) gets the last slot, which no reader sees. In the
 * ancestry (of attend.c; or NULL) each hypothesis is its own ancestor in its new slots. Where one row of slots serves
 * all hypotheses (rows = 1), the ancestry has a row for each of them. */
EXPORT void place(const Step *s) {
    int64_t *key_pos = s->p[PLACE_KEY_POS], *used = s->p[PLACE_SLOTS_USED], *slots = s->p[PLACE_SLOTS];
    const int64_t *new_pos = s->p[PLACE_NEW_POS], rows = s->n[PLACE_ROWS], length = s->n[PLACE_LENGTH];
    const int64_t capacity = s->n[PLACE_CAPACITY], width = s->n[PLACE_BEAM_WIDTH];
    int32_t *ancestry = s->p[PLACE_ANCESTRY];
    for (int64_t r = 0; r < rows; r++)
        for (int64_t l = 0; l < length; l++) {
            const int64_t new = new_pos[r * s->n[PLACE_NEW_POS_STRIDE] + l];
            const int64_t slot = new >= 0 && used[r] < capacity ? used[r] : capacity;
            key_pos[r * (capacity + 1) + slot] = slot < capacity ? new : -1;
            used[r] += slot < capacity;
            slots[r * length + l] = slot;
            if (!ancestry) continue;
            const int64_t first = rows == 1 ? 0 : r, end = rows == 1 ? s->n[PLACE_ANCESTRY_ROWS] : r + 1;
            for (int64_t row = first; row < end; row++)
                ancestry[row * s->n[PLACE_ANCESTRY_STRIDE] + slot] = (int32_t)(row % width);
        }
}

/* out (B, 1, Q, K) bytes: 1 for keys that are not padding (-1) and, if causal, at no later position than the query. */
EXPORT void sight(const Step *s) {
    uint8_t *out = s->p[SIGHT_OUT];
    const int64_t queries = s->n[SIGHT_QUERIES], keys = s->n[SIGHT_KEYS], causal = s->n[SIGHT_CAUSAL];
    for (int64_t b = 0; b < s->n[SIGHT_ROWS]; b++) {
        const int64_t *q_pos = (const int64_t *)s->p[SIGHT_Q_POS] + b * s->n[SIGHT_Q_POS_STRIDE];
        const int64_t *k_pos = (const int64_t *)s->p[SIGHT_K_POS] + b * s->n[SIGHT_K_POS_STRIDE];
        for (int64_t q = 0; q < queries; q++, out += keys)
            for (int64_t k = 0; k < keys; k++) out[k] = k_pos[k] >= 0 && (!causal || k_pos[k] <= q_pos[q]);
    }
}

/* out (B, L, D): x, or zeros at positions that are not valid (bytes). */
EXPORT void blank(const Step *s) {
    const float *x = s->p[BLANK_X];
    const uint8_t *valid = s->p[BLANK_VALID];
    float *out = s->p[BLANK_OUT];
    const int64_t rows = s->n[BLANK_ROWS], length = s->n[BLANK_LENGTH], dim = s->n[BLANK_DIM];
    for (int64_t b = 0; b < rows; b++)
        for (int64_t l = 0; l < length; l++, x += dim, out += dim) {
            if (valid[b * s->n[BLANK_VALID_STRIDE] + l]) memcpy(out, x, (size_t)dim * sizeof(float));
            else memset(out, 0, (size_t)dim * sizeof(float));
        }
}

/* out = x >= bound, in bytes. */
EXPORT void at_least(const Step *s) {
    const int64_t *x = s->p[INTEGERS_X], bound = s->n[INTEGERS_BOUND];
    uint8_t *out = s->p[INTEGERS_OUT];
    for (int64_t i = 0; i < s->n[INTEGERS_COUNT]; i++) out[i] = x[i] >= bound;
}

/* out = max(x, bound). */
EXPORT void raise_to(const Step *s) {
    const int64_t *x = s->p[INTEGERS_X], bound = s->n[INTEGERS_BOUND];
    int64_t *out = s->p[INTEGERS_OUT];
    for (int64_t i = 0; i < s->n[INTEGERS_COUNT]; i++) out[i] = x[i] > bound ? x[i] : bound;
}

/* out (count / shared_count, shared_count) = x + shared. */
EXPORT void add_shared(const Step *s) {
    const float *x = s->p[ADD_SHARED_X], *shared = s->p[ADD_SHARED_SHARED];
    float *out = s->p[ADD_SHARED_OUT];
    const int64_t count = s->n[ADD_SHARED_COUNT], size = s->n[ADD_SHARED_SHARED_COUNT];
    for (int64_t first = 0; first < count; first += size)
        for (int64_t i = 0; i < size; i++) out[first + i] = x[first + i] + shared[i];
}
